"""A Helm chart that is derived from the objects of a deployment, and Helm itself."""
