"""Keeps the values of environment variables out of what the bridge says.

A server may print its own credentials when it fails; its stderr is shown in errors and statuses, which must not hold them.
"""

import re
from collections.abc import Callable, Mapping
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


def redactor(environment: Mapping[str, str]) -> Callable[[str], str]:
    """A function that puts `[env NAME]` in the place of each variable's value.

    Values of a few well-known harmless variables stay, and so do values too short to be a secret.
    """
    names: dict[str, str] = {}
    for name, value in environment.items():
        secret = _SECRET.search(name) is not None
        if name in _ORDINARY or (not secret and _HARMLESS.match(name)):
            continue
        for line in {value, *value.splitlines()}:
            if len(line.strip()) >= (_SHORTEST_SECRET if secret else _SHORTEST):
                names.setdefault(line.strip(), name)
    if not names:
        return lambda text: text
    pattern = re.compile("|".join(re.escape(value) for value in sorted(names, key=len, reverse=True)))
    return lambda text: pattern.sub(lambda match: f"[env {names[match.group()]}]", text)
