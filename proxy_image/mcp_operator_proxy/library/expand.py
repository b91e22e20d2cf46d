"""`${VAR}` in a config, as desktop clients expand it. Pure.

`${VAR}` and `${env:VAR}` are the variable's value, `${VAR:-text}` is `text` where it is not set, and `$${` is a plain `${`.
"""

import re
from collections.abc import Mapping
from typing import Final

_REFERENCE: Final = re.compile(r"\$(\$\{)|\$\{([^{}]*)\}")
_NAME: Final = re.compile(r"(?:env:)?([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)


class CannotExpand(ValueError):
    """The message names the variables, and no values."""


def expand(text: str, environ: Mapping[str, str]) -> str:
    """`text` with its references replaced. Raises CannotExpand, naming everything that is missing."""
    problems: dict[str, None] = {}

    def value(match: re.Match[str]) -> str:
        if match[1]:
            return "${"
        named = _NAME.fullmatch(match[2])
        if named is None:
            problems["${…} must hold the name of an environment variable; write $${ for a plain ${"] = None
            return ""
        name, default = named[1], named[2]
        if name in environ:
            return environ[name]
        if default is None:
            problems[f"the environment variable {name} is not set; set it, or write ${{{name}:-default}}"] = None
        return default or ""

    expanded = _REFERENCE.sub(value, text)
    if problems:
        raise CannotExpand("; ".join(problems))
    return expanded


def is_reference(text: str) -> bool:
    """Whether `text` holds nothing but references and the words around a credential (`Bearer ${TOKEN}`)."""
    rest = _REFERENCE.sub("", text).strip()
    return rest != text.strip() and rest.lower() in {"", "bearer", "basic", "token"}
