"""Render machines that run already, and are driven by their `/hpc` routes."""
