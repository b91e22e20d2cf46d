"""Tokens exchanged for those of users (RFC 8693): kept until they end, in memory alone."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from mcp_operator_proxy.config import TokenExchange
from mcp_operator_proxy.services.credentials.grants import Grants
from mcp_operator_proxy.services.credentials.settings import Endpoint
from mcp_operator_proxy.services.credentials.token import Token

MOST: Final = 10_000
EARLY_SECONDS: Final = 30.0
_Key = tuple[str, Endpoint, TokenExchange, bytes]


class Exchanged:
    """`now` gives seconds since the epoch."""

    def __init__(self, grants: Grants, now: Callable[[], float]) -> None:
        self._grants = grants
        self._now = now
        self._kept: OrderedDict[_Key, Token] = OrderedDict()
        self._running: dict[_Key, asyncio.Task[Token]] = {}

    async def token(self, server: str, credential: TokenExchange, endpoint: Endpoint, subject: str) -> Token:
        """For what `subject` is exchanged at this server. Raises GrantRefused, GrantFailed."""
        key = self._key(server, credential, endpoint, subject)
        kept = self._kept.get(key)
        if kept is not None and kept.good_for(EARLY_SECONDS, self._now()):
            self._kept.move_to_end(key)
            return kept
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.get_running_loop().create_task(self._exchange(key, subject))
            task.add_done_callback(lambda done: self._done(key, done))
        return await asyncio.shield(task)

    def forget(self, server: str, credential: TokenExchange, endpoint: Endpoint, subject: str, refused: str) -> None:
        """The server refused the token `refused`: the next call exchanges anew."""
        key = self._key(server, credential, endpoint, subject)
        kept = self._kept.get(key)
        if kept is not None and kept.access_token == refused:
            del self._kept[key]

    @staticmethod
    def _key(server: str, credential: TokenExchange, endpoint: Endpoint, subject: str) -> _Key:
        return server, endpoint, credential, hashlib.sha256(subject.encode()).digest()

    async def _exchange(self, key: _Key, subject: str) -> Token:
        _, endpoint, credential, _ = key
        token = await self._grants.exchange(
            endpoint,
            subject,
            scopes=credential.scopes,
            resource=str(credential.resource) if credential.resource else None,
            audience=credential.audience,
        )
        self._kept[key] = token
        while len(self._kept) > MOST:
            self._kept.popitem(last=False)
        return token

    def _done(self, key: _Key, task: "asyncio.Task[Token]") -> None:
        self._running.pop(key, None)
        if not task.cancelled():
            task.exception()  # retrieved, in case that nobody waits any more
