"""What an image is made of: a base, what is kept of it, packages, layers. `ship/packages` puts it together."""
