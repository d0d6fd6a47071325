"""How a person types it."""
