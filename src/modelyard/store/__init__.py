"""Moves bytes and rows without caring what they mean."""
