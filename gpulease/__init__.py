"""gpulease: an autoscaler and orchestrator for rented cloud GPUs. This package is the public side."""

__version__ = "0.1.0"
