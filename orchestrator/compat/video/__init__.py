"""The text-to-video API: prompts become films, listed and fetched as clients of its first servers know it."""

from orchestrator.compat.video.routes import router

__all__ = ["router"]
