"""`make conformance`: the public conformance suite of MCP, run against the proxy and against the server behind it."""
