"""HTTP: bytes to requests, errors to statuses."""
