"""Types of arguments that several commands have. Light: a command pays for what it uses alone."""

import argparse
import re

from mcp_operator.local.manifests import NAMESPACE


def namespace(text: str) -> str:
    """The name of a namespace. Raises ArgumentTypeError."""
    if not re.fullmatch(NAMESPACE, text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a namespace: lower-case letters, digits and '-'")
    return text
