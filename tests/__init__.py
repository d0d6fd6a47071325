"""Tests; `tests.models` makes real bundles for all of them."""
