"""Where a process stands among those that share its sessions."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from mcp_operator_proxy.egress import Egress
from mcp_operator_proxy.sessions.forward import Forwarder
from mcp_operator_proxy.sessions.holder import Holder
from mcp_operator_proxy.sessions.ids import Keys
from mcp_operator_proxy.sessions.peers import PeerName, Peers, join
from mcp_operator_proxy.workers.kept import Kept, Memory, shared_memory

DEFAULT_INTERNAL_PORT = 8081


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    host: str
    port: int
    workers: int = 1
    internal_host: str | None = None
    """An address of this machine that replicas reach; None: loopback, for the workers alone."""
    internal_port: int = DEFAULT_INTERNAL_PORT
    """Of the first worker, the others follow. Not used on loopback, where the system chooses."""
    peers: tuple[PeerName, ...] = ()
    tls: bool = False
    """Of the public port; the internal ones stay plain HTTP."""
    leave_seconds: float = 0.0
    egress: Egress | None = None
    """After SIGTERM, before connections are closed."""

    @property
    def alone(self) -> bool:
        return self.workers == 1 and self.internal_host is None


@dataclass(frozen=True)
class Place:
    """One worker's: it listens on `port` with its siblings, and on `internal` by itself."""

    index: int
    host: str
    port: int
    internal: tuple[str, int]
    siblings: tuple[str, ...]
    """Internal addresses of all workers of this pod, its own among them."""
    peers: tuple[PeerName, ...] = ()
    keys: Keys = field(default_factory=Keys.random, repr=False)
    """For a configuration without signing keys: the same in all workers."""
    memory: Memory | None = field(default=None, repr=False)
    """What the workers share of their counters."""

    def kept(self) -> Kept | None:
        """What was counted here before."""
        return Kept(self.memory, self.index) if self.memory is not None else None

    def holder(self) -> Holder:
        own = join(*self.internal)
        peers = Peers(own, siblings=self.siblings, names=self.peers, workers=len(self.siblings))
        return Holder(own, keys=self.keys, forwarder=Forwarder(peers), workers=self.siblings)


@contextmanager
def places(options: Options) -> Iterator[list[Place]]:
    """One place for each worker, whose ports stay taken while the block runs. Raises OSError."""
    held: list[socket.socket] = []
    try:
        host = options.internal_host or "127.0.0.1"
        port = _take(held, options.host, options.port)
        first = options.internal_port if options.internal_host is not None else 0
        ports = [_take(held, host, first + index if first else 0) for index in range(options.workers)]
        siblings = tuple(join(host, each) for each in ports)
        keys = Keys.random()
        with shared_memory(options.workers) as memory:
            yield [
                Place(index, options.host, port, (host, each), siblings, options.peers, keys, memory)
                for index, each in enumerate(ports)
            ]
    finally:
        for one in held:
            one.close()


def _take(held: list[socket.socket], host: str, port: int) -> int:
    """Bind without listening: the port is reserved for the processes of this user that share it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        if port:  # sharing would hide that another program listens there
            with socket.create_server((host, port), family=family):
                pass
        taken = socket.socket(family, socket.SOCK_STREAM)
        held.append(taken)
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind((host, port))
    except OSError as error:
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}") from error
    return int(taken.getsockname()[1])
