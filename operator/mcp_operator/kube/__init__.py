"""The API server, as plain dicts over raw HTTP calls: the only package that imports the Kubernetes client.

Typed models validate answers and refuse partial objects, and the dynamic client keeps a discovery cache on disk; a raw call is
also the fastest (under a millisecond). Failures are the types of `errors`.
"""
