"""The client side of the proxy: one `Backend` per MCP server, its sessions, its catalogue and its errors."""
