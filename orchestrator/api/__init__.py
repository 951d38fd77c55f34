"""HTTP: the native surface under /v1, the agents' under /internal, and what operators probe."""
