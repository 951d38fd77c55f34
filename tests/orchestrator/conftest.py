"""Fixtures of this folder's tests, by name where a test asks for them."""

from access_bench import access, clock, sessions, settings, store

__all__ = ["access", "clock", "sessions", "settings", "store"]
