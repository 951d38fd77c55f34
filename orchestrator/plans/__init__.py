"""Plans, looked back on: what each saw, did and left, and what another policy would have made of the same jobs."""
