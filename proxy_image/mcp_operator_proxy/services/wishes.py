"""Which servers are to stand still, as the workers of one pod tell each other. Pure.

For each server the newest wish counts, so that workers agree whatever order they hear it in.
"""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field


class Wish(BaseModel):
    """`tick` counts up with each wish for the server; of two with one tick that of the greater `by`, a process, counts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tick: int = Field(ge=1)
    by: str
    stopped: bool

    def beats(self, other: "Wish | None") -> bool:
        return other is None or (self.tick, self.by, self.stopped) > (other.tick, other.by, other.stopped)


class Wishes(BaseModel):
    """By id of the server; of one that nobody ever stopped there is none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    servers: Mapping[str, Wish] = {}

    @property
    def stopped(self) -> frozenset[str]:
        return frozenset(server for server, wish in self.servers.items() if wish.stopped)

    def wishing(self, server: str, *, stopped: bool, by: str) -> "Wishes":
        """With one more wish, which beats what is known of the server."""
        known = self.servers.get(server)
        wish = Wish(tick=known.tick + 1 if known else 1, by=by, stopped=stopped)
        return Wishes(servers={**self.servers, server: wish})

    def merged(self, other: "Wishes") -> "Wishes":
        newer = {server: wish for server, wish in other.servers.items() if wish.beats(self.servers.get(server))}
        return Wishes(servers={**self.servers, **newer})
