"""Runs a stdio MCP server and serves it over streamable HTTP.

jsonrpc, framing   what a line is                     (pure)
ids, loglevels, subscriptions   what many sessions on one server need   (pure)
modern             what the 2026-07-28 era has instead of sessions   (pure)
handshake, listens how a process is opened in either era; its subscriptions
process            one child process: its pipes, its end
connection         JSON-RPC over a process: calls in flight, their streams
supervisor         start, restart with backoff, wait until ready
hub, shared, isolated   HTTP sessions on one process, or one process each
endpoint, app      streamable HTTP; health, status and metrics
logs               what processes wrote, for who has the key
guard              the parent of it all: reaps, forwards signals, leaves no orphan
"""
