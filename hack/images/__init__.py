"""Builds container images from ordinary Dockerfiles, with no registry in reach (docs/local-cluster.md)."""
