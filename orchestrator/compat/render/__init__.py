"""The render API: speech, transcripts, portraits and image analysis, as clients of its first server know them."""

from orchestrator.compat.render.routes import router

__all__ = ["router"]
