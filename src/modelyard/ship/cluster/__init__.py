"""A Kubernetes cluster: the objects of a deployment, how they get there, and why they do not come up."""
