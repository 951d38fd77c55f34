"""Wire models that every side shares: jobs, engines, the agent protocol, problem documents."""
