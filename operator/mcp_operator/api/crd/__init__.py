"""CustomResourceDefinitions generated from the models: what the API server knows of the three kinds."""

from mcp_operator.api.crd.definitions import definition, definitions
from mcp_operator.api.crd.manifests import file_names, render

__all__ = ["definition", "definitions", "file_names", "render"]
