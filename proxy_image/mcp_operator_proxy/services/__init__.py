"""What the proxy does beside MCP: REST, users' sessions and credentials, the registry of tools, audit and notices."""
