"""Benchmarks of the proxy's data plane: `make bench`. Run with `tests` in PYTHONPATH."""
