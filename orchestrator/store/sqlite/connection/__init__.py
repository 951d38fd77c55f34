"""How the database is opened, migrated, written by one thread and read by others."""
