"""What is at the border of HTTP: bounds, rates, headers."""
