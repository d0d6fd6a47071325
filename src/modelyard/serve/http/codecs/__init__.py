"""The contracts' bodies: each file turns one contract's bytes into arranged arrays, and outputs back into its bytes."""
