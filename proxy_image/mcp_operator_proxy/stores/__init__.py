"""What outlives a request: short-lived values (memory, Redis), durable records (SQLite, PostgreSQL), and their encryption.

Nothing in here knows of MCP. Each store is one small interface with two real implementations; tests run both.
"""
