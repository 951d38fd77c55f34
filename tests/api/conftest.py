"""Fixtures of the API tests."""

from api_world import settings, world

__all__ = ["settings", "world"]
