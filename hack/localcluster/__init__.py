"""A real single-node Kubernetes in namespaces of its own, for tests (docs/local-cluster.md)."""
