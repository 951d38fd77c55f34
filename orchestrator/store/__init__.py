"""Where jobs, attempts, workers and money are written down."""
