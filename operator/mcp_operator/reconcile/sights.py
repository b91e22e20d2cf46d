"""How the replicas of all proxies see each server: their reports merged, so that a server's status tells what clients see."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto

from mcp_operator.conditions.server import Clients, Failure, Stopped, Unreached
from mcp_operator.engine.keys import Key
from mcp_operator.probe.replica import ReplicaState
from mcp_operator_proxy.report import UnapprovedTool


@dataclass(frozen=True, slots=True)
class Sight:
    """What the replicas of one proxy say of the servers in its configuration, by their ids."""

    servers: frozenset[str] = frozenset()
    unreached: Mapping[str, Unreached] = field(default_factory=dict)
    """Of those that some replica does not reach."""
    reached: frozenset[str] = frozenset()
    """Those that some replica reaches."""
    stopped: Mapping[str, Stopped] = field(default_factory=dict)
    """Of those that some replica has been told to stop: it neither reaches them nor fails to."""
    waiting: bool = True
    """Some replica has not been heard yet."""
    unapproved: Mapping[str, tuple[UnapprovedTool, ...]] = field(default_factory=dict)
    """Definitions that some replica is shown and that are none of its pins."""
    outdated: Mapping[str, frozenset[tuple[str, str]]] = field(default_factory=dict)
    """Names and digests of those of which replicas have spoken only before they were given their configuration."""


_NOTHING = Sight(waiting=False)


class News(Enum):
    """How what is said of a server has become something else."""

    FAILS = auto()
    """A replica that did not fail to reach it does now."""
    FAILS_OTHERWISE = auto()
    """Fewer do, or for other reasons."""
    STOPPED = auto()
    """Replicas were told to stop it, or to start it again."""
    DEFINITIONS = auto()
    """Replicas are shown other definitions that are not approved."""
    MINOR = auto()
    """No replica begins or ceases to fail: that concerns only servers that the operator itself does not reach, or of which it
    last said that some replicas do not."""


def sight(proxy: Key, servers: Iterable[str], states: Mapping[str, ReplicaState]) -> Sight:
    """Merge what the replicas say, whatever revision they run. One that does not answer says nothing of its servers."""
    known = frozenset(servers)
    failures: defaultdict[str, list[Failure]] = defaultdict(list)
    reaching: defaultdict[str, int] = defaultdict(int)
    stopped: defaultdict[str, list[str]] = defaultdict(list)
    unapproved: defaultdict[str, dict[tuple[str, str], UnapprovedTool]] = defaultdict(dict)
    fresh: set[tuple[str, str, str]] = set()
    for pod, state in sorted(states.items()):
        for server in state.servers:
            if server.stopped:
                stopped[server.id].append(pod)
            elif server.state == "error" and server.error is not None:
                failures[server.id].append(Failure(pod, server.error.error_class, server.error.message))
            elif server.state == "ready":
                reaching[server.id] += 1
            for tool in server.unapproved:
                unapproved[server.id].setdefault((tool.tool, tool.digest), tool)
                if not state.outdated:
                    fresh.add((server.id, tool.tool, tool.digest))
    unreached = {
        server: Unreached(f"{proxy.namespace}/{proxy.name}", len(found) + reaching.get(server, 0), tuple(found))
        for server, found in failures.items()
        if server in known
    }
    waiting = any(state.state == "unknown" for state in states.values())
    found = {server: tuple(tools[key] for key in sorted(tools)) for server, tools in unapproved.items()}
    old = {
        server: frozenset(key for key in tools if (server, *key) not in fresh) for server, tools in unapproved.items()
    }
    still = {
        server: Stopped(f"{proxy.namespace}/{proxy.name}", tuple(pods))
        for server, pods in stopped.items()
        if server in known
    }
    return Sight(known, unreached, known & reaching.keys(), still, waiting, found, old)


class Sights:
    """The sights of all proxies.

    `on_change(server id, news)` is called when what is said of a server becomes something else. That one replica more reaches
    it is no news at all: whoever scales a proxy would have every server of it reconciled.
    """

    def __init__(self, on_change: Callable[[str, News], None]) -> None:
        self._on_change = on_change
        self._of: dict[Key, Sight] = {}
        self._with: defaultdict[str, set[Key]] = defaultdict(set)

    def note(self, proxy: Key, seen: Sight) -> None:
        """Remember what the replicas of `proxy` say now."""
        before, self._of[proxy] = self._of.get(proxy, _NOTHING), seen
        self._index(proxy, before.servers, seen.servers)
        self._tell(before, seen)

    def forget(self, proxy: Key) -> None:
        """Drop what is known of a proxy that is gone."""
        if (before := self._of.pop(proxy, None)) is not None:
            self._index(proxy, before.servers, frozenset())
            self._tell(before, _NOTHING)

    def proxies(self, server: str) -> Collection[Key]:
        """Those that have `server` in their configuration."""
        return self._with.get(server, ())

    def of(self, server: str) -> Clients:
        """What the replicas of every proxy that has `server` say of it."""
        with_it = [self._of[proxy] for proxy in self.proxies(server)]
        unreached = [seen.unreached[server] for seen in with_it if server in seen.unreached]
        return Clients(
            unreached=tuple(sorted(unreached, key=lambda found: found.proxy)),
            reached=any(server in seen.reached for seen in with_it),
            stopped=tuple(
                sorted((seen.stopped[server] for seen in with_it if server in seen.stopped), key=lambda one: one.proxy)
            ),
            waiting=any(seen.waiting for seen in with_it),
        )

    def unapproved(self, server: str, known: Collection[tuple[str, str]] = ()) -> dict[str, tuple[UnapprovedTool, ...]]:
        """What the replicas of each proxy are shown that is not approved, by the proxies' ids.

        `known` are names and digests that the server's status tells of. What replicas said before they were given their
        configuration, which was by other pins, counts of these alone.
        """
        with_it = {proxy: self._unapproved(self._of[proxy], server, known) for proxy in self.proxies(server)}
        return {f"{proxy.namespace}/{proxy.name}": found for proxy, found in sorted(with_it.items()) if found}

    def outdate(self, proxy: Key) -> None:
        """The replicas of `proxy` are about to be given another configuration."""
        if (seen := self._of.get(proxy)) is not None and seen.unapproved:
            old = {
                server: frozenset((one.tool, one.digest) for one in tools) for server, tools in seen.unapproved.items()
            }
            self._of[proxy] = replace(seen, outdated=old)

    @staticmethod
    def _unapproved(seen: Sight, server: str, known: Collection[tuple[str, str]]) -> tuple[UnapprovedTool, ...]:
        old = seen.outdated.get(server, frozenset()).difference(known)
        return tuple(one for one in seen.unapproved.get(server, ()) if (one.tool, one.digest) not in old)

    def _index(self, proxy: Key, before: frozenset[str], now: frozenset[str]) -> None:
        for server in now - before:
            self._with[server].add(proxy)
        for server in before - now:
            self._with[server].discard(proxy)
            if not self._with[server]:
                del self._with[server]

    def _tell(self, before: Sight, now: Sight) -> None:
        failing = before.unreached.keys() | now.unreached.keys()
        changed = {server for server in failing if before.unreached.get(server) != now.unreached.get(server)}
        minor = before.reached ^ now.reached
        if before.waiting != now.waiting:
            minor |= before.servers | now.servers
        for server in sorted(changed):
            more = _failing(now, server) - _failing(before, server)
            self._on_change(server, News.FAILS if more else News.FAILS_OTHERWISE)
        known = before.stopped.keys() | now.stopped.keys()
        stopped = {server for server in known if before.stopped.get(server) != now.stopped.get(server)} - changed
        for server in sorted(stopped):
            self._on_change(server, News.STOPPED)
        for server in sorted(before.unapproved.keys() | now.unapproved.keys()):
            heard = before.outdated.get(server, frozenset()) - now.outdated.get(server, frozenset())
            if heard or before.unapproved.get(server) != now.unapproved.get(server):
                self._on_change(server, News.DEFINITIONS)
        for server in sorted(minor - changed - stopped):
            self._on_change(server, News.MINOR)


def _failing(seen: Sight, server: str) -> frozenset[str]:
    """Pods that do not reach it."""
    found = seen.unreached.get(server)
    return frozenset(failure.pod for failure in found.failures) if found else frozenset()
