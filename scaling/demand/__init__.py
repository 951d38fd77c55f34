"""What the queue asks of the fleet: supply, offers and budgets, and the walk that matches them."""
