"""The peers, as most people write them."""
