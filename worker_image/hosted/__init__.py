"""Hosted agents: where a machine cannot run our image, its agent runs beside the orchestrator, and talks to it."""
