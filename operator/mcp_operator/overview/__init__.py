"""What `mcp-operator status` shows: the resources of a cluster as rows, and as a tree of what is served where. Pure."""
