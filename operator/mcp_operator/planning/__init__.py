"""What `mcp-operator plan` finds out: the operator's own steps, with a client that only pretends to write."""
