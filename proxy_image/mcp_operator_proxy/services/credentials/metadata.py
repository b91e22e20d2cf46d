"""Metadata of authorization servers (RFC 8414, OpenID Connect Discovery) and of protected resources (RFC 9728)."""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

import httpx2
from mcp.client.auth.utils import build_oauth_authorization_server_metadata_discovery_urls, issuers_match
from mcp.shared.auth import OAuthMetadata, ProtectedResourceMetadata
from pydantic import BaseModel, ValidationError

from mcp_operator_proxy.backends.oauth import metadata_urls
from mcp_operator_proxy.services.credentials.web import SECONDS, Web

KEPT_SECONDS: Final = 600.0
MOST: Final = 1000
"""Issuers that are remembered."""
_Found = TypeVar("_Found", bound=BaseModel)


class NotDiscovered(Exception):
    """The metadata are not there, or say something else than they should. The text may be shown."""


class Discovery:
    """Remembers what issuers said for ten minutes."""

    def __init__(self, web: Web, clock: Callable[[], float] = time.monotonic) -> None:
        self._web = web
        self._clock = clock
        self._known: dict[tuple[str | None, str, str | None], tuple[float, OAuthMetadata]] = {}

    async def issuer(
        self, issuer: str | None, ca_bundle: str | None, address: str | None = None, *, fresh: bool = False
    ) -> OAuthMetadata:
        """What the issuer says of itself, at `address` where that is another. None: whatever it calls itself. `fresh` asks it anew.

        Raises:
            NotDiscovered: it says nothing, or calls itself something else (RFC 8414, section 3.3).
        """
        where = (address or issuer or "").rstrip("/")
        key = (issuer, where, ca_bundle)
        known = self._known.get(key)
        if known is not None and not fresh and self._clock() - known[0] < KEPT_SECONDS:
            return known[1]
        found = await _first(
            build_oauth_authorization_server_metadata_discovery_urls(where, where), OAuthMetadata, self._web, ca_bundle
        )
        if found is None:
            raise NotDiscovered("the issuer's metadata cannot be read")
        if (
            issuer is not None
            and not issuers_match(str(found.issuer), issuer)
            and str(found.issuer) != issuer.rstrip("/")
        ):
            raise NotDiscovered("the issuer's metadata name another issuer")
        while len(self._known) >= MOST:
            del self._known[next(iter(self._known))]
        self._known[key] = (self._clock(), found)
        return found


async def protected_resource(web: Web, url: str, challenge: str, ca_bundle: str | None) -> ProtectedResourceMetadata:
    """What the resource at `url` says of itself; `challenge` is its `WWW-Authenticate` header, empty where there is none.

    Raises:
        NotDiscovered: it says nothing, or is another resource than it says (RFC 9728, section 3.3).
    """
    found = await _first(metadata_urls(url, challenge), ProtectedResourceMetadata, web, ca_bundle)
    if found is None:
        raise NotDiscovered("the server does not say which authorization server it trusts")
    said, own = str(found.resource).rstrip("/"), url.rstrip("/")
    if own != said and not own.startswith((f"{said}/", f"{said}?")):
        raise NotDiscovered("the server's metadata are those of another resource")
    return found


async def _first(urls: Iterable[str], model: type[_Found], web: Web, ca_bundle: str | None) -> _Found | None:
    async with web.client(ca_bundle) as http:
        for url in urls:
            try:
                async with asyncio.timeout(SECONDS):
                    response = await http.get(url, headers={"accept": "application/json"})
                if response.status_code == 200:
                    return model.model_validate_json(response.content)
            except (httpx2.HTTPError, httpx2.InvalidURL, OSError, TimeoutError, ValidationError, ValueError):
                continue
    return None
