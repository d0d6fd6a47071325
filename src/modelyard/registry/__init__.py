"""Which version: models, versions, aliases, and where their bundles lie."""
