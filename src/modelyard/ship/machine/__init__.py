"""One machine with Docker Compose: the composition of a deployment, and how one release takes the place of another."""
