"""The proxy as a Python library: see docs/library.md. `mcp_operator_proxy` itself exports what is here."""
