"""The operator at scale: thousands of resources on a real API server, the real proxies that serve them, and no node."""
