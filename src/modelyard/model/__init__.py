"""One model's files, and running it."""
