"""The worker's own gRPC: the two video services over the jobs that its HTTP runs, too."""
