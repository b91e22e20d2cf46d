"""What in a client's file may be a credential: by its name or by its look. Pure.

In doubt it is one: a plain value in a Secret does no harm, a credential in a manifest does.
"""

import re
from typing import Final

_WORDS: Final = frozenset(
    {
        "apikey",
        "auth",
        "authorization",
        "bearer",
        "cookie",
        "credential",
        "credentials",
        "creds",
        "dsn",
        "jwt",
        "key",
        "keys",
        "pass",
        "passphrase",
        "passwd",
        "password",
        "pat",
        "pwd",
        "secret",
        "secrets",
        "token",
    }
)
_NOT: Final = frozenset({"pwd", "oldpwd", "ssh_auth_sock"})
"""Names of other things."""
_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_LOOKS: Final = re.compile(
    r"(?<![A-Za-z0-9])(sk-|gh[opsur]_|github_pat_|glpat-|xox[abeoprs]-|AKIA|ASIA|AIza|ya29\.|hf_|npm_|pypi-|SG\.|ntn_|secret_)"
    r"[\w./+=-]{8}"
    r"|(?<![A-Za-z0-9])eyJ[\w-]+\.[\w-]+"  # a JSON Web Token (RFC 7519)
    r"|-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|\b([Bb]earer|[Bb]asic)\s+[\w.~+/=-]{8}"
    r"|(?i:\b(password|pwd|accountkey|sharedaccesskey)=)"
)
_USERINFO: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#\s:@]*:[^/?#\s@]+@")


def is_credential(name: str, value: str) -> bool:
    """Whether the value of a variable, a header or an option is to be kept in a Secret."""
    return is_secretive(name, value) or looks_secret(value)


def is_secretive(name: str, value: str = "") -> bool:
    """Whether a name says so: `OPENAI_API_KEY`, `X-Auth-Token`, `--dbPassword`. `MAX_TOKENS=4096` is a number of tokens."""
    if name.lower() in _NOT:
        return False
    words = {word.lower() for word in _WORD.findall(name)}
    if "tokens" in words:
        return not value.strip().isdigit()
    return bool(words & _WORDS)


def looks_secret(value: str) -> bool:
    """Whether a value looks like a key, a token, or a URL with a password in it."""
    return bool(_LOOKS.search(value) or _USERINFO.search(value))
