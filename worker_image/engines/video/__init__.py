"""`video`: by a worker that speaks gRPC, or by a pipeline of diffusers here."""
