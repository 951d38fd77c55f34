"""Results to the owner's own buckets, with the owner's own keys: no orchestrator signs anything."""
