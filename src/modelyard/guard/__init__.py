"""Who may: keys, tokens, certificates, limits, records. It knows no protocol and no model."""
