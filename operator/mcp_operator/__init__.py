"""The operator: custom resources in, proxy pods and true status out."""

__version__ = "0.1.0"
