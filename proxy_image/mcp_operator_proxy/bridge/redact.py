"""Keeps the values of environment variables out of what the bridge says.

A server may print its own credentials when it fails; its stderr is shown in errors and statuses, which must not hold them.
"""

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final

_ORDINARY: Final = frozenset(
    {
        *("PATH", "HOME", "PWD", "OLDPWD", "USER", "LOGNAME", "SHELL", "SHLVL", "TERM", "TZ", "LANG", "LANGUAGE", "_"),
        *("HOSTNAME", "TMPDIR", "VIRTUAL_ENV", "NODE_ENV"),
    }
)
_HARMLESS: Final = re.compile(
    r"^(LC_\w+|KUBERNETES_\w+|\w+_SERVICE_(HOST|PORT)\w*|\w+_PORT(_\w+)?|PYTHON\w+|(UV|XDG|NPM_CONFIG|npm_config|MCP_BRIDGE)_\w+)$"
)
_SECRET: Final = re.compile(r"KEY|TOKEN|SECRET|PASS|PWD|CREDENTIAL|AUTH|COOKIE|PRIVATE", re.IGNORECASE)
_SHORTEST: Final = 8
_SHORTEST_SECRET: Final = 6


def redactor(environment: Mapping[str, str], secrets: Collection[str] = ()) -> Callable[[str], str]:
    """A function that puts `[env NAME]` in the place of each variable's value.

    Values of a few well-known harmless variables stay, and so do values too short to be a secret. What stands in `secrets`
    is always replaced, a short one where it stands as a word of its own.
    """
    names: dict[str, str] = {}
    for name, value in environment.items():
        known = value in secrets
        secret = known or _SECRET.search(name) is not None
        if not known and (name in _ORDINARY or (not secret and _HARMLESS.match(name))):
            continue
        for line in _forms(value):
            if line and (known or len(line) >= (_SHORTEST_SECRET if secret else _SHORTEST)):
                names.setdefault(line, name)
    for value in secrets:
        for line in _forms(value):
            if line:
                names.setdefault(line, "?")
    if not names:
        return lambda text: text
    pattern = re.compile("|".join(_pattern(value) for value in sorted(names, key=len, reverse=True)))
    return lambda text: pattern.sub(lambda match: f"[env {names[match.group()]}]", text)


def _forms(value: str) -> Iterator[str]:
    """A value, each line of it, and how JSON and Python write it."""
    yield value.strip()
    if len(value) >= _SHORTEST_SECRET:
        yield json.dumps(value)[1:-1]
        yield repr(value)[1:-1]
    for line in value.splitlines():
        yield line.strip()


def _pattern(value: str) -> str:
    return re.escape(value) if len(value) >= _SHORTEST_SECRET else rf"(?<!\w){re.escape(value)}(?!\w)"
