"""The command line. Data goes to stdout, talk and progress to stderr; exit status 0, 1 (failed), 2 (usage)."""
