"""Ways for clients to come in beside streamable HTTP: HTTP+SSE (2024-11-05), stdin and stdout, a client in this process."""
