"""Who else serves these sessions: the other workers of this pod, and the workers of the other replicas."""

import asyncio
import hashlib
import ipaddress
import logging
import socket
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

logger = logging.getLogger(__name__)
RESOLVE_SECONDS: Final = 5.0
SHUN_SECONDS: Final = 5.0
MAX_SHUN_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class PeerName:
    """A DNS name of all replicas, as that of a headless Service, and the internal port of their first workers."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> tuple["PeerName", ...]:
        """`name:port`, several by commas. Raises ValueError."""
        found = []
        for part in filter(None, (piece.strip() for piece in text.split(","))):
            host, _, port = part.rpartition(":")
            if not host or not port.isdigit() or not 0 < int(port) < 65536:
                raise ValueError(f"{part!r} is not name:port")
            found.append(cls(host.strip("[]"), int(port)))
        return tuple(found)


class Peers:
    """`own` and `siblings` are `host:port` of internal listeners; each replica at `names` has `workers` of them."""

    def __init__(
        self, own: str, *, siblings: Iterable[str] = (), names: Sequence[PeerName] = (), workers: int = 1
    ) -> None:
        self.own = own
        self.siblings = frozenset(siblings) - {own}
        self.names = tuple(names)
        self._workers = workers
        self._resolved: dict[PeerName, frozenset[str]] = {}
        self._shunned: dict[str, tuple[float, float]] = {}

    def live(self) -> frozenset[str]:
        """All that are thought to be up, this process among them."""
        others = self.siblings.union(*self._resolved.values()) - {self.own}
        return frozenset(address for address in others if not self.shuns(address)) | {self.own}

    def shun(self, address: str) -> None:
        """It did not even refuse: do not wait for it again for a while, each time for longer."""
        _, before = self._shunned.get(address, (0.0, SHUN_SECONDS / 2))
        pause = min(before * 2, MAX_SHUN_SECONDS)
        self._shunned[address] = time.monotonic() + pause, pause

    def shuns(self, address: str) -> bool:
        return self._shunned.get(address, (0.0, 0.0))[0] > time.monotonic()

    def answered(self, address: str) -> None:
        self._shunned.pop(address, None)

    async def follow(self) -> None:
        """Keep up with the names, for ever."""
        while True:
            await asyncio.gather(*(self._resolve(name) for name in self.names))
            now = time.monotonic()
            self._shunned = {a: s for a, s in self._shunned.items() if now - s[0] < MAX_SHUN_SECONDS}
            await asyncio.sleep(RESOLVE_SECONDS)

    async def _resolve(self, name: PeerName) -> None:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(name.host, name.port, type=socket.SOCK_STREAM)
        except OSError as error:  # those known stay
            logger.debug("cannot resolve the name of the peers: %s", error)
            return
        self._resolved[name] = frozenset(
            join(str(entry[4][0]), name.port + index) for entry in found for index in range(self._workers)
        )


def join(host: str, port: int) -> str:
    try:
        v6 = ipaddress.ip_address(host).version == 6
    except ValueError:
        v6 = False
    return f"[{host}]:{port}" if v6 else f"{host}:{port}"


def ranked(session_id: str, addresses: Iterable[str]) -> list[str]:
    """Rendezvous hashing: all who know the same addresses name the same one first, and one more or less moves few ids.

    See Thaler and Ravishankar, "Using name-based mappings to increase hit rates" (1998).
    """
    return sorted(addresses, key=lambda address: hashlib.blake2b(f"{address}\0{session_id}".encode()).digest())
