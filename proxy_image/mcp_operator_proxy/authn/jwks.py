"""The keys of one issuer: found by its metadata, fetched, renewed, and kept while the issuer is away.

Sources: RFC 7517 (JWKS), RFC 8414 and OpenID Connect Discovery 1.0 (metadata). Nothing is fetched for a token but where it
names a key that is not known, and then seldom: a caller cannot make the proxy flood an issuer.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import httpx2

from mcp_operator_proxy.backends.http import ssl_context
from mcp_operator_proxy.backends.network import guarded_client
from mcp_operator_proxy.config import JwtIssuer
from mcp_operator_proxy.egress import Egress

if TYPE_CHECKING:
    from joserfc.jwk import Key

logger = logging.getLogger(__name__)
RENEW_SECONDS: Final = 300.0
"""Between two fetches that went well."""
RETRY_FIRST: Final = 1.0
RETRY_MOST: Final = 60.0
AGAIN_SECONDS: Final = 10.0
"""Between two fetches because of keys that are not known."""
FETCH_SECONDS: Final = 10.0
MAX_BYTES: Final = 512 * 1024
"""Of metadata and of a set of keys."""
MAX_KEYS: Final = 256
MIN_RSA: Final = 342
"""Characters of a modulus of 2,048 bits: RFC 7518, section 3.3."""


class FetchFailed(Exception):
    """The message says what went wrong; it is for the log."""


def metadata_urls(issuer: str) -> tuple[str, ...]:
    """Where an issuer's metadata may be, in the order to try (RFC 8414, sections 3 and 5; MCP authorization)."""
    parts = urlsplit(issuer)
    origin, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    found = [f"{origin}/.well-known/{name}{path}" for name in ("oauth-authorization-server", "openid-configuration")]
    return tuple(dict.fromkeys([*found, f"{origin}{path}/.well-known/openid-configuration"]))


def jwks_url(metadata: Any, issuer: str) -> str:
    """Of the metadata of `issuer`. Raises FetchFailed where it is another's or lacks it."""
    said = metadata if isinstance(metadata, dict) else {}
    if said.get("issuer") != issuer:
        raise FetchFailed("the metadata is of another issuer")
    url = said.get("jwks_uri")
    allowed = ("https://",) if issuer.startswith("https://") else ("https://", "http://")
    if not isinstance(url, str) or not url.startswith(allowed):
        raise FetchFailed("the metadata names no fitting jwks_uri")
    return url


def read_keys(document: Any) -> "tuple[Key, ...]":
    """The public keys of a JWKS that can be used; others are passed over (RFC 7517, section 5). Raises FetchFailed."""
    from joserfc.errors import JoseError  # noqa: PLC0415 - an extra, and only who has issuers pays for it
    from joserfc.jwk import import_key  # noqa: PLC0415 - as above

    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise FetchFailed("the document is no set of keys")
    found: list[Key] = []
    for each in listed:
        if not isinstance(each, dict) or each.get("kty") not in ("RSA", "EC", "OKP"):
            continue
        if each["kty"] == "RSA" and len(str(each.get("n"))) < MIN_RSA:
            continue
        try:
            key = import_key({name: value for name, value in each.items() if name not in _PRIVATE})
            key.public_key  # noqa: B018 - says whether the numbers make a key
        except (JoseError, ValueError, TypeError, KeyError):
            continue
        found.append(key)
    return tuple(found)


_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


class IssuerKeys:
    """Of `issuer`; `start` it, `close` it. `changed` is called when a key has gone, whose tokens are not good any more.

    `egress` decides which addresses may be connected to.
    """

    def __init__(self, issuer: JwtIssuer, changed: Callable[[], None], egress: Egress | None = None) -> None:
        self.issuer = issuer
        self._egress = egress
        self.problem: str | None = None
        """Why the last fetch failed."""
        self._keys: Sequence[Key] | None = None
        self._prints: frozenset[str] = frozenset()
        self._changed = changed
        self._next_extra = 0.0
        self._fetching: asyncio.Task[bool] | None = None
        self._following: asyncio.Task[None] | None = None

    @property
    def keys(self) -> "Sequence[Key] | None":
        """The last that the issuer gave; None where it has given none yet."""
        return self._keys

    def start(self) -> None:
        self._following = asyncio.get_running_loop().create_task(self._follow(), name=f"keys of {self.issuer.name}")

    async def close(self) -> None:
        for task in (self._following, self._fetching):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])

    async def renew_for_unknown(self) -> bool:
        """Fetch, because a token names a key that is not known; False where that has been tried just now, or failed."""
        now = time.monotonic()
        if self._fetching is None:
            if now < self._next_extra:
                return False
            self._next_extra = now + AGAIN_SECONDS
        return await self.renew()

    async def renew(self) -> bool:
        """Fetch now; whoever asks meanwhile waits for the same fetch."""
        if self._fetching is None:
            self._fetching = asyncio.get_running_loop().create_task(self._fetch())
            self._fetching.add_done_callback(lambda _: setattr(self, "_fetching", None))
        return await asyncio.shield(self._fetching)

    async def _follow(self) -> None:
        wait = RETRY_FIRST
        while True:
            if await self.renew():
                wait = RETRY_FIRST
                await asyncio.sleep(RENEW_SECONDS)
            else:
                await asyncio.sleep(wait)
                wait = min(2 * wait, RETRY_MOST)

    async def _fetch(self) -> bool:
        try:
            async with asyncio.timeout(FETCH_SECONDS), await self._client() as http:
                self._use(read_keys(await self._document(http)))
        except (FetchFailed, TimeoutError, httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            problem = str(error) or type(error).__name__
            if problem != self.problem:
                told = {"issuer": self.issuer.name, "error": problem, "kept": self._keys is not None}
                logger.warning("the keys of an issuer could not be fetched", extra=told)
            self.problem = problem
            return False
        self.problem = None
        return True

    def _use(self, keys: "Sequence[Key]") -> None:
        if not keys:
            raise FetchFailed("the set has no key of a known kind")
        before = self._prints
        self._keys, self._prints = keys, frozenset(json.dumps(k.as_dict(private=False), sort_keys=True) for k in keys)
        if before != self._prints:
            logger.info("the keys of an issuer are in use", extra={"issuer": self.issuer.name, "keys": len(keys)})
        if before - self._prints:
            self._changed()

    async def _client(self) -> httpx2.AsyncClient:
        context = await asyncio.to_thread(ssl_context, self.issuer.ca_bundle)
        return guarded_client(self._egress, context=context, timeout=FETCH_SECONDS)

    async def _document(self, http: httpx2.AsyncClient) -> Any:
        if self.issuer.jwks_url is not None:
            return await _json(http, str(self.issuer.jwks_url))
        problems = []
        for url in metadata_urls(self.issuer.issuer):
            try:
                found = jwks_url(await _json(http, url), self.issuer.issuer)
            except (FetchFailed, httpx2.HTTPError) as error:
                problems.append(str(error))
                continue
            return await _json(http, found)
        raise FetchFailed("; ".join(dict.fromkeys(problems)))


async def _json(http: httpx2.AsyncClient, url: str) -> Any:
    """What is at `url`. Raises FetchFailed and the HTTP client's errors."""
    async with http.stream("GET", url, headers={"accept": "application/json"}) as response:
        if response.status_code != 200:
            raise FetchFailed(f"{url} answers with {response.status_code}")
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > MAX_BYTES:
                raise FetchFailed(f"what {url} answers is larger than {MAX_BYTES} bytes")
    try:
        return json.loads(bytes(body))
    except (ValueError, RecursionError):
        raise FetchFailed(f"what {url} answers is no JSON") from None
