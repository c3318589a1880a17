"""Our own API: one module per resource."""
