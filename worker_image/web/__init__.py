"""The worker's own HTTP, one module a surface."""
