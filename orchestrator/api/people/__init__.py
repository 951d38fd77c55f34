"""/v1 routes about people: users, keys, projects, subscriptions, webhooks, audit."""
