"""The policy `whatif`: what each machine would do next, and what one more or one less would change."""
