"""Docker or Podman, and an image tried on it before it gets its name."""
