"""Messages as they may be shown: without what looks like a secret, and not longer than a page can bear. Pure."""

import json
import re
from collections.abc import Collection, Sequence
from typing import Any, Final

MASK: Final = "•••"
SHOWN_MOST: Final = 64 * 1024
"""Bytes of one message as JSON; of a longer one the beginning is shown, as a text."""
_SECRET: Final = re.compile(
    r"^pass$|pass(word|wd|phrase|code)|secret|token|api[-_ ]?key|access[-_ ]?key|private[-_ ]?key|signing[-_ ]?key|encryption[-_ ]?key"
    r"|authorization|credential|cookie|^auth$|bearer|^pwd$|^pin$|^otp$",
    re.IGNORECASE,
)
_HARMLESS: Final = frozenset(
    {
        "progresstoken",
        "maxtokens",
        "max_tokens",
        "tokens",
        "totaltokens",
        "inputtokens",
        "outputtokens",
        "stoptoken",
        "tokencount",
    }
)
"""Names of the protocol, and counts, that look like secrets and are none."""
_SCHEMA: Final = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
"""Whose members are named like arguments, and hold schemas."""
_SHORTEST: Final = 6


def looks_secret(name: str) -> bool:
    """Whether a member of this name probably holds a secret."""
    return _SECRET.search(name) is not None and name.lower() not in _HARMLESS


def masked(value: Any, secrets: Collection[str] = (), *, schema: bool = False) -> Any:
    """`value` with a mask in the place of members that look like secrets, and of `secrets` in every text.

    What is within a JSON schema (`schema`) only tells of such members, so it stays.
    """
    if isinstance(value, dict):
        return {
            _text(key, secrets): MASK
            if not schema and looks_secret(key) and not _says_nothing(item)
            else masked(item, secrets, schema=key in _SCHEMA and isinstance(item, dict))
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [masked(item, secrets) for item in value]
    return _text(value, secrets) if isinstance(value, str) else value


def _says_nothing(value: Any) -> bool:
    return value is None or isinstance(value, bool) or value == ""


def _text(text: str, secrets: Collection[str]) -> str:
    for secret in secrets:
        if len(secret) >= _SHORTEST and secret in text:
            text = text.replace(secret, MASK)
    return _within(text, secrets) if text.lstrip()[:1] in ("{", "[") else text


def _within(text: str, secrets: Collection[str]) -> str:
    """A text that is JSON itself, as tools answer: masked inside, where there is something to mask."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text
    try:
        shown = masked(found, secrets)
    except RecursionError:
        return MASK
    return text if shown == found else json.dumps(shown, ensure_ascii=False)


def shown(messages: Sequence[bytes] | None, size: int, secrets: Collection[str]) -> tuple[Any, bool]:
    """One side of a leg, and whether something of it is left out: the message, or the list of them where there were several.

    None: there was nothing. What was too long to be kept is told as a text with its `size`.
    """
    if messages is None:
        return f"({size} bytes: too much to be kept)", True
    values = []
    for message in messages:
        try:
            values.append(masked(json.loads(message), secrets))
        except (ValueError, RecursionError):
            values.append(f"({len(message)} bytes that are not JSON)")
    if not values:
        return None, False
    value = values[0] if len(values) == 1 else values
    text = json.dumps(value, ensure_ascii=False)
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= SHOWN_MOST:
        return value, False
    return encoded[:SHOWN_MOST].decode("utf-8", "ignore"), True
