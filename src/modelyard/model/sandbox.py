"""The sandboxed child in which foreign model files are opened."""
