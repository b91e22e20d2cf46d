"""The issuers of a configuration for a proxy's life: a swap renews what it changes, and keeps the keys of the others."""

import asyncio
import hashlib
import time
from collections import OrderedDict
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from mcp_operator_proxy.auth import Principal
from mcp_operator_proxy.authn.jwks import IssuerKeys
from mcp_operator_proxy.authn.tokens import Glance, TokenRefused, UnknownKey, glance, verify
from mcp_operator_proxy.config import Auth, JwtIssuer
from mcp_operator_proxy.tasks import spawn

if TYPE_CHECKING:
    from mcp_operator_proxy.proxy import Proxy
    from mcp_operator_proxy.swap.prepared import Prepared

MAX_VERIFIED: Final = 20_000
"""Tokens that are remembered as good; then the one that was used longest ago is verified anew."""


class KeysUnavailable(Exception):
    """The issuer has not given its keys yet, so nobody can say whether a token of it is good."""


class Tokens:
    """Verified tokens of the issuers of one configuration, and the way to verify others."""

    def __init__(self, issuers: tuple[JwtIssuer, ...], keys: dict[str, IssuerKeys]) -> None:
        self.issuers = {issuer.issuer: issuer for issuer in issuers}
        self._keys = keys
        self._verified: OrderedDict[bytes, Principal] = OrderedDict()

    def known(self, token: bytes) -> Principal | None:
        """Whose it is, where it was verified before and has not expired. Cheap."""
        digest = hashlib.sha256(token).digest()
        found = self._verified.get(digest)
        if found is None:
            return None
        if found.expires is None or found.expires <= time.time():
            del self._verified[digest]
            return None
        self._verified.move_to_end(digest)
        return found

    async def verified(self, token: bytes) -> Principal:
        """Whose it is; waits only where the token names a key that is not known.

        Raises:
            TokenRefused: see `tokens.verify`.
            KeysUnavailable: nobody can say.
        """
        if (found := self.known(token)) is not None:
            return found
        seen = glance(token)
        issuer = self.issuers.get(seen.issuer) if seen is not None else None
        if seen is None or issuer is None:
            raise TokenRefused("this is no known API key, and no token of an accepted issuer")
        principal = await self._verify(token, seen, issuer)
        self._verified[hashlib.sha256(token).digest()] = principal
        while len(self._verified) > MAX_VERIFIED:
            self._verified.popitem(last=False)
        return principal

    def forget(self, issuer: str) -> None:
        """What the issuer of that name in the configuration has signed is verified anew."""
        for digest in [digest for digest, principal in self._verified.items() if principal.issuer == issuer]:
            del self._verified[digest]

    async def _verify(self, token: bytes, seen: Glance, issuer: JwtIssuer) -> Principal:
        source = self._keys[issuer.name]
        if source.keys is None:
            await source.renew_for_unknown()
        if source.keys is None:
            raise KeysUnavailable(f"the keys of the issuer {issuer.name} cannot be fetched now; try again")
        try:
            return verify(token, seen, issuer, source.keys, time.time())
        except UnknownKey:
            if not await source.renew_for_unknown():
                raise TokenRefused("the token is signed by a key that its issuer does not show") from None
        try:
            return verify(token, seen, issuer, source.keys, time.time())
        except UnknownKey:
            raise TokenRefused("the token is signed by a key that its issuer does not show") from None


class Issuers:
    """The service. It costs nothing where the configuration names no issuer."""

    def __init__(self, proxy: "Proxy") -> None:
        self._proxy = proxy
        self._keys: dict[str, IssuerKeys] = {}
        self._tokens: Tokens | None = None
        self._closing: set[asyncio.Task[None]] = set()

    def use(self, prepared: "Prepared") -> None:
        auth = prepared.config.auth or Auth(anonymous=True)
        wanted = {issuer.name: issuer for issuer in auth.jwt}
        for name, source in list(self._keys.items()):
            if name not in wanted or _place(wanted[name]) != _place(source.issuer):
                spawn(self._keys.pop(name).close(), self._closing)
        for name, issuer in wanted.items():
            if name not in self._keys:
                self._keys[name] = IssuerKeys(issuer, partial(self._revoked, name), self._proxy.egress)
                self._keys[name].start()
        if not wanted:
            self._tokens = None
        elif self._tokens is None or tuple(self._tokens.issuers.values()) != auth.jwt:
            self._tokens = Tokens(auth.jwt, dict(self._keys))
        if prepared.authenticator is not None:
            prepared.authenticator.tokens = self._tokens

    def source(self, name: str) -> IssuerKeys | None:
        """The keys of the issuer of that name in the configuration."""
        return self._keys.get(name)

    async def close(self) -> None:
        for source in self._keys.values():
            await source.close()
        if self._closing:
            await asyncio.wait(self._closing)

    def _revoked(self, name: str) -> None:
        """A key of an issuer has gone: what is remembered of its tokens goes too, here and in the fast lane."""
        if self._tokens is not None:
            self._tokens.forget(name)
        if self._proxy.state is not None:
            self._proxy.state = replace(self._proxy.state)  # the lane keeps heads for as long as it is the same object


def _place(issuer: JwtIssuer) -> tuple[object, ...]:
    return issuer.issuer, issuer.jwks_url, issuer.ca_bundle
