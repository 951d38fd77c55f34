"""Workers: what their agents say, what the providers list, and what it all costs."""
