"""The REST interface. Only `service` is imported where a configuration has none: the rest needs FastAPI."""
