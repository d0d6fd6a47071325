"""The platform's verbs, each a function that joins several rooms."""
