"""May this caller use this? The one hook that the fast lane, the full path, REST and search ask before anything reaches a backend."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, Protocol, runtime_checkable

from mcp_operator_proxy.auth import Principal
from mcp_operator_proxy.table import Entry, Kind, RouteTable


class Policy(Protocol):
    """Decides without I/O, as it runs before each call."""

    def refusal(self, principal: Principal | None, route: str, kind: Kind, name: str, entry: Entry) -> str | None:
        """Why `principal` may not use `name` (as exposed), which is `entry`, on the route of that path; None where it may.

        The reason is for logs. The caller is told what it would be told if there were no such thing.
        """
        ...

    def visible(self, principal: Principal | None, table: RouteTable) -> RouteTable:
        """The table with nothing in it but what `principal` may use: what its lists show."""
        ...

    async def shown(self, principal: Principal | None, table: RouteTable) -> RouteTable:
        """The same, in turns with whatever else the event loop has to do; `visible` is at hand then."""
        ...


class AllowAll:
    """Everybody whom the proxy lets in may use all that a route shows."""

    def refusal(self, principal: Principal | None, route: str, kind: Kind, name: str, entry: Entry) -> str | None:  # noqa: ARG002
        return None

    def visible(self, principal: Principal | None, table: RouteTable) -> RouteTable:  # noqa: ARG002
        return table

    async def shown(self, principal: Principal | None, table: RouteTable) -> RouteTable:  # noqa: ARG002
        return table


@runtime_checkable
class Explains(Protocol):
    """A policy that can say which of its rules have decided."""

    def explain(
        self, principal: Principal | None, route: str, kind: Kind, name: str, entry: Entry
    ) -> tuple[bool, list[str]]:
        """Whether it is allowed, and the names of the rules."""
        ...


ALLOW_ALL: Final = AllowAll()
LIMITED: Final = "its key is for other tools"


@dataclass(frozen=True)
class Limited:
    """`inner` for everybody but the callers of keys that are for some tools alone, whatever `inner` says of these."""

    inner: Policy
    calls: Mapping[str, frozenset[str]]
    """Tools as `NAMESPACE/SERVER/NAME`, by the name of the key."""

    def refusal(self, principal: Principal | None, route: str, kind: Kind, name: str, entry: Entry) -> str | None:
        calls = self._of(principal)
        if calls is None:
            return self.inner.refusal(principal, route, kind, name, entry)
        return None if kind == "tool" and f"{entry.server}/{entry.name}" in calls else LIMITED

    def visible(self, principal: Principal | None, table: RouteTable) -> RouteTable:
        calls = self._of(principal)
        return self.inner.visible(principal, table) if calls is None else _only(table, calls)

    async def shown(self, principal: Principal | None, table: RouteTable) -> RouteTable:
        calls = self._of(principal)
        return await self.inner.shown(principal, table) if calls is None else _only(table, calls)

    def is_limited(self, principal: Principal | None) -> bool:
        """Whether the caller's key is for some tools alone."""
        return self._of(principal) is not None

    def is_open_to(self, principal: Principal | None) -> bool:
        return self.inner is ALLOW_ALL and self._of(principal) is None

    def _of(self, principal: Principal | None) -> frozenset[str] | None:
        return None if principal is None or principal.issuer else self.calls.get(principal.name)


def _only(table: RouteTable, calls: frozenset[str]) -> RouteTable:
    tools = {name: entry for name, entry in table.tools.items() if f"{entry.server}/{entry.name}" in calls}
    nothing: Mapping[str, Entry] = MappingProxyType({})
    return replace(table, tools=MappingProxyType(tools), prompts=nothing, resources=nothing, resource_templates=nothing)


def is_open(policy: Policy, principal: Principal | None) -> bool:
    """Whether the caller may use all that a route shows: then its lists are those of everybody."""
    return policy is ALLOW_ALL or (isinstance(policy, Limited) and policy.is_open_to(principal))


def explained(
    policy: Policy, principal: Principal | None, route: str, name: str, entry: Entry
) -> tuple[bool, str, list[str]]:
    """May the caller call the tool `name`: the decision, in words, and which rules have made it."""
    refusal = policy.refusal(principal, route, "tool", name, entry)
    if policy is ALLOW_ALL:
        return True, "no policies are configured: whoever may call may use all that a route shows", []
    if isinstance(policy, Limited):
        if not policy.is_limited(principal):
            return explained(policy.inner, principal, route, name, entry)
        return refusal is None, refusal or "its key is for this tool", []
    rules = policy.explain(principal, route, "tool", name, entry)[1] if isinstance(policy, Explains) else []
    return refusal is None, refusal or "a policy permits it", rules
