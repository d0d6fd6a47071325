"""The peers, as most people write them; each runs in an environment of its own, with this folder as its place."""
