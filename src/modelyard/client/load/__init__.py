"""The load generator: asks a server the same questions again and again, checks every answer, and measures."""
