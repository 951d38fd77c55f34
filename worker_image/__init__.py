"""What runs on a rented machine: an agent that pulls work, engines that do it, and a small HTTP app."""
