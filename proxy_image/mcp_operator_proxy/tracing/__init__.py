"""Traces: one span for each request that comes in, one for each that goes to a server, and the context that joins them.

What is done for each call imports nothing of OpenTelemetry. `export` does; it is imported by who has tracing configured.
"""
