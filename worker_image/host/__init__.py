"""Engine hosts: every backend runs in a process of its own, resident between jobs."""
