"""What is looked back on: plans with what they saw, and how finished jobs went."""
