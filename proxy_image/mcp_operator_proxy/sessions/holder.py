"""This process as a holder of sessions; one for all its routes."""

from dataclasses import dataclass, field

from mcp_operator_proxy.config import Sessions
from mcp_operator_proxy.sessions.forward import Forwarder
from mcp_operator_proxy.sessions.ids import Keys, nonce


@dataclass
class Holder:
    """A swap replaces `keys` and `limits`."""

    address: str = ""
    """`host:port` of the internal listener; empty without one."""
    instance: str = field(default_factory=nonce)
    """Names this process; another at the same address has another."""
    keys: Keys = field(default_factory=Keys.random, repr=False)
    limits: Sessions = field(default_factory=Sessions)
    forwarder: Forwarder | None = None
    """The way to other processes; None where there are none."""
    draining: bool = False
    workers: tuple[str, ...] = ()
    """Internal listeners of all workers of this pod, this process among them, in the order of their numbers."""
    own_keys: Keys = field(init=False, repr=False)
    """Those that it began with: the workers of a pod have them in common, and nobody else has them."""

    def __post_init__(self) -> None:
        self.own_keys = self.keys

    @property
    def number(self) -> int:
        """Of this worker, from 0."""
        return self.workers.index(self.address) if self.address in self.workers else 0
