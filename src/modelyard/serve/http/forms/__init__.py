"""Bodies: each file turns one kind of bytes into arranged arrays, and outputs back. Contracts share them."""
