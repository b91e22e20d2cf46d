"""The proxy's own tokens (client credentials, RFC 6749, section 4.4): one for each server that wants one, in memory alone.

Each is obtained by a task of its own, so that a swap waits for none of them, and renewed before it ends.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from mcp_operator_proxy.backends.resolved import ResolvedServer
from mcp_operator_proxy.config import ClientCredentials, Server
from mcp_operator_proxy.services.credentials.grants import GrantFailed, GrantRefused, Grants
from mcp_operator_proxy.services.credentials.settings import CredentialSettings, Endpoint
from mcp_operator_proxy.services.credentials.shown import WAITS, shown
from mcp_operator_proxy.services.credentials.token import Token
from mcp_operator_proxy.tasks import cancel

logger = logging.getLogger(__name__)
AGAIN: Final = (0.5, 60.0)
"""Seconds after the first failure, doubled with each, up to the second."""
LEAST_SECONDS: Final = 1.0
"""Between two tokens, however short-lived they are or often they are refused."""
EARLY: Final = 0.8
"""Of its lifetime, after which a token is renewed; the last minute is never used, where there is more than that."""
Wanted = tuple[ClientCredentials, Endpoint]


@dataclass
class _Entry:
    wanted: Wanted
    refused: asyncio.Event = field(default_factory=asyncio.Event)
    renewed: asyncio.Event = field(default_factory=asyncio.Event)
    task: "asyncio.Task[None] | None" = None
    token: Token | None = None
    problem: str = ""


class MachineTokens:
    """`changed(server_id)` is called in the loop when `filled` gives something else than before."""

    def __init__(self, grants: Callable[[], Grants], now: Callable[[], float], changed: Callable[[str], None]) -> None:
        self._grants = grants
        self._now = now
        self._changed = changed
        self._entries: dict[str, _Entry] = {}

    def use(self, servers: tuple[Server, ...], settings: CredentialSettings) -> None:
        wanted = {
            server.id: (server.credential, settings.endpoints[server.id])
            for server in servers
            if isinstance(server.credential, ClientCredentials)
        }
        for gone in [key for key, entry in self._entries.items() if wanted.get(key) != entry.wanted]:
            if (task := self._entries.pop(gone).task) is not None:
                task.cancel()
        for key, want in wanted.items():
            if key not in self._entries:
                entry = self._entries[key] = _Entry(want)
                entry.task = asyncio.get_running_loop().create_task(self._keep(key, entry), name=f"token of {key}")

    def filled(self, resolved: ResolvedServer, settings: CredentialSettings) -> ResolvedServer:
        """The server with the token that it is shown; with `waits` where there is none yet."""
        credential = resolved.server.credential
        if not isinstance(credential, ClientCredentials):
            return resolved
        entry = self._entries.get(resolved.server.id)
        if entry is None or entry.wanted != (credential, settings.endpoints[resolved.server.id]):
            return replace(resolved, waits=WAITS)
        if entry.token is None:
            return replace(resolved, waits=f"{WAITS}: {entry.problem}" if entry.problem else WAITS)
        return shown(resolved, entry.token.access_token)

    def token(self, server: str) -> str | None:
        entry = self._entries.get(server)
        return entry.token.access_token if entry is not None and entry.token is not None else None

    def problem(self, server: str) -> str:
        entry = self._entries.get(server)
        return f"{WAITS}: {entry.problem}" if entry is not None and entry.problem else WAITS

    async def renewed(self, server: str, refused: str, seconds: float) -> bool:
        """The server refused the token `refused`: whether there is another one, within so many seconds."""
        entry = self._entries.get(server)
        if entry is None:
            return False
        if entry.token is None or entry.token.access_token == refused:
            entry.renewed.clear()
            entry.refused.set()
            try:
                async with asyncio.timeout(seconds):
                    await entry.renewed.wait()
            except TimeoutError:
                return False
        return entry.token is not None and entry.token.access_token != refused

    async def _keep(self, server: str, entry: _Entry) -> None:
        failures = 0
        while True:
            entry.refused.clear()
            try:
                token = await self._fetch(entry.wanted)
            except (GrantRefused, GrantFailed) as error:
                failures += 1
                self._failed(server, entry, str(error))
                pause = min(AGAIN[0] * 2 ** min(failures - 1, 20), AGAIN[1]) * random.uniform(0.5, 1.0)  # noqa: S311
                if entry.token is not None and not entry.token.good_for(0, self._now()):
                    entry.token = None
                    self._changed(server)
            else:
                failures, entry.token, entry.problem = 0, token, ""
                pause = self._good_for(token)
                self._changed(server)
            entry.renewed.set()
            await asyncio.sleep(min(pause, LEAST_SECONDS))
            if pause > LEAST_SECONDS:
                await _either(entry.refused, pause - LEAST_SECONDS)

    def _failed(self, server: str, entry: _Entry, problem: str) -> None:
        if problem == entry.problem:
            return
        entry.problem = problem
        logger.warning("a server's token cannot be had", extra={"server": server, "error": problem})
        if entry.token is None:
            self._changed(server)

    async def _fetch(self, wanted: Wanted) -> Token:
        credential, endpoint = wanted
        resource = str(credential.resource) if credential.resource else None
        return await self._grants().client_credentials(
            endpoint, scopes=credential.scopes, resource=resource, audience=credential.audience
        )

    def _good_for(self, token: Token) -> float:
        if token.expires_at is None:
            return 3600.0
        whole = token.expires_at - self._now()
        return max(LEAST_SECONDS, min(whole * EARLY, whole - 60.0 if whole > 120 else whole * EARLY))

    async def close(self) -> None:
        await cancel([entry.task for entry in self._entries.values() if entry.task is not None])


async def _either(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
