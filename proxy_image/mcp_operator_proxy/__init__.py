"""The proxy: one MCP endpoint per route over many MCP servers, reconfigured while it runs."""

__version__ = "0.1.0"
