"""What is asked of providers, and what they say: offers, leases, listings, upkeep."""
