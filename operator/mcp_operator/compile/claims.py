"""Two claims of one thing: who has it, who is refused, and what each of them is told."""

from dataclasses import dataclass
from typing import Literal

ClaimReason = Literal["ServerConflict", "PrefixConflict"]


@dataclass(frozen=True, slots=True)
class Claimant:
    """A server that is to appear somewhere. `source`: the id of the route that brings it; None: the proxy's own selector."""

    server: str
    source: str | None

    @property
    def told(self) -> str:
        return f"McpRoute {self.source}" if self.source else "the proxy's own selector"


@dataclass(frozen=True, slots=True)
class Claim:
    """Of two claims at one path of a proxy the one that came second, and is refused. `prefix` is that of a PrefixConflict."""

    reason: ClaimReason
    path: str
    prefix: str
    winner: Claimant
    loser: Claimant

    def told_to_loser(self) -> str:
        """What stands in the way, and what to do."""
        server = f"McpServer {self.loser.server}"
        if self.reason == "ServerConflict":
            return f"{server} is already served at {self.path} by {self.winner.told}; remove one of the two"
        taken = f"is taken at {self.path} by McpServer {self.winner.server} ({self.winner.told})"
        return f"prefix {self.prefix!r} of {server} {taken}; give one of them another prefix"

    def told_to_winner(self) -> str:
        """Who else wants it, in vain."""
        server = f"McpServer {self.winner.server}"
        if self.reason == "ServerConflict":
            return f"{server} at {self.path} is also claimed by {self.loser.told}, in vain; remove one of the two"
        claimed = f"is also claimed by McpServer {self.loser.server} ({self.loser.told}), in vain"
        return f"prefix {self.prefix!r} of {server} at {self.path} {claimed}; give one of them another prefix"
