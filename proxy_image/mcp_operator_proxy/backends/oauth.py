"""Find out whom a server that answers 401 trusts, so that its user knows what to configure (RFC 9728).

Only metadata on the server's own origin is fetched, without credentials, at most `MAX_METADATA` bytes and no redirects.
"""

import asyncio
import json
import re
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2

from mcp_operator_proxy.backends.connect import Target

MAX_METADATA: Final = 64 * 1024
_WELL_KNOWN: Final = "/.well-known/oauth-protected-resource"
_RESOURCE_METADATA: Final = re.compile(r'\bresource_metadata\s*=\s*(?:"([^"]*)"|([^\s,"]+))', re.IGNORECASE)
_SHOWABLE: Final = re.compile(r"^https?://[A-Za-z0-9.\-:\[\]]{1,255}(/[A-Za-z0-9._~%/\-]{0,200})?$")


def metadata_urls(url: str, challenge: str) -> tuple[str, ...]:
    """Where the metadata of the resource `url` may be, in the order to try (RFC 9728, sections 3.1 and 5.1).

    What `challenge`, a `WWW-Authenticate` header, names is taken only from the origin of `url`.
    """
    own = urlsplit(url)
    origin = f"{own.scheme}://{own.netloc.rpartition('@')[2]}"
    if (named := _RESOURCE_METADATA.search(challenge)) is not None:
        found = named[1] or named[2]
        return (found,) if _origin(found) == _origin(url) else ()
    path = own.path.rstrip("/")
    return (f"{origin}{_WELL_KNOWN}{path}", f"{origin}{_WELL_KNOWN}") if path else (f"{origin}{_WELL_KNOWN}",)


def authorization_servers(metadata: Any) -> tuple[str, ...]:
    """The issuers that protected-resource metadata names, those that may stand in a message; at most two."""
    found = metadata.get("authorization_servers") if isinstance(metadata, dict) else None
    issuers = found if isinstance(found, list) else []
    return tuple(issuer for issuer in issuers if isinstance(issuer, str) and _SHOWABLE.match(issuer))[:2]


async def explain(target: Target, challenge: str) -> str | None:
    """What the server at `target` wants, in a sentence; None where nothing says that it is OAuth."""
    bare = Target(
        url=target.url, ca_bundle=target.ca_bundle, http2=target.http2, uds=target.uds,
        connect_timeout=target.connect_timeout, egress=target.egress,
    )  # fmt: skip
    issuers: tuple[str, ...] | None = None
    async with bare.http_client() as http:
        for url in metadata_urls(target.url, challenge):
            if (metadata := await _fetch(http, url, target.connect_timeout)) is not None:
                issuers = authorization_servers(metadata)
                break
    if issuers:
        return f"the server wants OAuth: get a token from {' or '.join(issuers)} and send it in an Authorization header"
    if issuers is not None or _RESOURCE_METADATA.search(challenge):
        return "the server wants OAuth, and does not say whom it trusts; send a token in an Authorization header"
    if challenge.strip().lower().startswith("bearer"):
        return "the server wants a bearer token; send one in an Authorization header"
    return None


async def _fetch(http: httpx2.AsyncClient, url: str, seconds: float) -> Any:
    try:
        async with (
            asyncio.timeout(seconds),
            http.stream("GET", url, headers={"accept": "application/json"}) as response,
        ):
            if response.status_code != 200:
                return None
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_METADATA:
                    return None
            return json.loads(bytes(body))
    except (TimeoutError, httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError, RecursionError):
        return None


def _origin(url: str) -> tuple[str, str, int | None] | None:
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return None
    return parts.scheme, (parts.hostname or "").lower(), port
