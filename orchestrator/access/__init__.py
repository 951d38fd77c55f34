"""Who calls, what they may, and how much: users, keys, sessions, quotas, rates."""
