"""The control API: the platform's verbs over HTTP. Routes say who may; `control.actions` do the work."""
