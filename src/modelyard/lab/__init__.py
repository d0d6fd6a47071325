"""Mathematics about data and models: preparing, training, evaluating. No network, no database."""
