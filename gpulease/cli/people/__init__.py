"""Users and their keys, made, listed and ended in the data directory itself."""
