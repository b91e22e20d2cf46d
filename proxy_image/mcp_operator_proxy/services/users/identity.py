"""Which user a caller is, and for whom it may act. Pure.

A user id is at most 255 characters. Callers that authenticate have ids by construction: `key/NAME` of an API key, `NAME` of a token
of the issuer whose callers are the users, `ISSUER/NAME` of another one's. What applications name has no `/`, so nobody becomes
the caller of a key, or of another issuer, by a name.
"""

import hashlib
import re
from typing import Final
from urllib.parse import quote, unquote

from mcp_operator_proxy.auth import Principal
from mcp_operator_proxy.config import OPERATOR, Users

API_KEY: Final = "key"
MOST: Final = 255
"""Characters of a user id."""
_NAMED: Final = re.compile(r"[^\s/\x00-\x1f\x7f-\x9f]{1,255}")
_PLAIN: Final = "!$&'()*+,;=:@~|^"


class NotTheirs(Exception):
    """The caller may not act for this user; the text says who may."""


class BadUser(ValueError):
    """A user id that cannot be one."""


def user_of(principal: Principal | None, users: Users) -> str | None:
    """The user that a caller is; None where it is nobody, or the operator, which proves that the proxy answers."""
    if principal is None or principal.key == OPERATOR:
        return None
    if not principal.issuer:
        return _short(API_KEY, principal.name)
    return _short("" if principal.issuer == users.issuer else principal.issuer, principal.name)


def owners_of(user: str, users: Users) -> tuple[str, ...]:
    """Whose a user's processes and sessions with servers may be: the user's own, of calls made for the user over REST, of the
    key or token that the user calls with."""
    namespace, _, name = user.rpartition("/")
    issuer = namespace or users.issuer
    own = unquote(name) if namespace == API_KEY else f"{issuer}/{unquote(name)}" if issuer else user
    return tuple(dict.fromkeys((user, on_behalf(user), own)))


def on_behalf(user: str) -> str:
    """The owner of what is done for `user` by a caller that acts for others."""
    return f"user {user}"


def acts_for_others(principal: Principal | None, users: Users) -> bool:
    """Whether it is an application that names the user for whom it calls: by its name, and `ISSUER/NAME` of a token."""
    return principal is not None and principal.key in users.applications


def checked(user: str) -> str:
    """A user id that an application names. Raises BadUser."""
    if _NAMED.fullmatch(user) is None:
        raise BadUser("a user id has 1 to 255 characters, and no slash, space or control character")
    return user


def acting_user(principal: Principal | None, users: Users, named: str | None, *, authenticated: bool) -> str | None:
    """The user for whom a request is that names one, or none. `authenticated`: the proxy asks callers who they are.

    Raises:
        NotTheirs: only an application may name another user.
        BadUser: see `checked`.
    """
    own = user_of(principal, users)
    if named is None or (own is not None and named == own):
        return own
    if authenticated and not acts_for_others(principal, users):
        raise NotTheirs("this caller acts for itself alone: leave the user id out, or be one of users.applications")
    return checked(named)


def pseudonym(user: str) -> str:
    """What stands for a user where everybody may read it: `user ` and 8 hexadecimal digits, by which those who know the ids
    find whom it is about, and which tells nobody else who there is."""
    return f"user {hashlib.sha256(f'mcp-operator user:{user}'.encode()).hexdigest()[:8]}"


def _short(namespace: str, name: str) -> str:
    """`NAMESPACE/NAME`, with what would end a part spelt out, and a digest in the place of a long name."""
    # Letters of all languages stay: quote() would spell out every byte of theirs.
    spelt = "".join(
        char if char.isalnum() or char in _PLAIN or char in "-._" else quote(char, safe="") for char in name
    )
    whole = f"{namespace}/{spelt}" if namespace else spelt
    if len(whole) <= MOST:
        return whole
    digest = "sha256:" + hashlib.sha256(name.encode()).hexdigest()
    return f"{namespace}/{digest}" if namespace else digest
