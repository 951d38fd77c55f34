"""The embedded store: one SQLite file, one thread that writes, and readers beside it."""

from orchestrator.store.sqlite.store import SqliteStore, open_sqlite

__all__ = ["SqliteStore", "open_sqlite"]
