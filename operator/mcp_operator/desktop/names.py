"""Names that people gave their servers, as names of resources. Pure."""

import hashlib
import re
from collections.abc import Collection
from typing import Final

from mcp_operator.api.meta import NAME_MAX_LENGTH

_DIGEST: Final = 6


def resource_name(name: str, taken: Collection[str] = ()) -> str:
    """A DNS label of at most 52 characters that starts with a letter and is not `taken`: `My Server!` → `my-server`.

    A name that is cut ends with a digest of the whole. Where nothing of it is left, it is `server`.
    """
    label = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "server"
    if not label[0].isalpha():
        label = f"mcp-{label}"
    if len(label) > NAME_MAX_LENGTH:
        digest = hashlib.sha256(name.encode()).hexdigest()[:_DIGEST]
        label = f"{label[: NAME_MAX_LENGTH - _DIGEST - 1].rstrip('-')}-{digest}"
    candidate, number = label, 1
    while candidate in taken:
        number += 1
        candidate = f"{label[: NAME_MAX_LENGTH - len(str(number)) - 1].rstrip('-')}-{number}"
    return candidate


def variable_name(text: str, taken: Collection[str] = ()) -> str:
    """The name of an environment variable: `--api-key` and `apiKey` → `API_KEY`."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text)
    name = re.sub(r"[^A-Z0-9]+", "_", words.upper()).strip("_") or "VALUE"
    if name[0].isdigit():
        name = f"_{name}"
    candidate, number = name, 1
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    return candidate
