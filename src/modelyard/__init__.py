"""Modelyard: from a trained model or a CSV to a fast, safe, versioned API."""

__version__ = "0.1.0"
