"""People and what is theirs, on SQLite."""
