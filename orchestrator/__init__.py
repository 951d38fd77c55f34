"""The orchestrator: the API, the store, and the loops that lease machines and let them go."""
