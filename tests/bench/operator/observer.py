"""What a spectator with a watch sees: which statuses are right by now, and how often what was written."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from bench.operator.api import Api, Body
from bench.operator.world import NAMESPACE, TOOLS, World
from mcp_operator.api import meta

CONFIGS: Final = f"/api/v1/namespaces/{NAMESPACE}/configmaps"


def condition(body: Mapping[str, Any], kind: str) -> str:
    """Status of a condition that is about the generation that the object has."""
    generation = body["metadata"]["generation"]
    for found in body.get("status", {}).get("conditions", ()):
        if found["type"] == kind and found.get("observedGeneration") == generation:
            return str(found["status"])
    return "Missing"


def server_is_right(body: Mapping[str, Any]) -> bool:
    """It answers, and all of its tools are told."""
    status = body.get("status", {})
    return condition(body, "Ready") == "True" and status.get("tools", {}).get("count") == TOOLS


def proxy_is_right(body: Mapping[str, Any], servers: int) -> bool:
    """Its one replica runs the newest configuration, with every server of the team, and they all answer."""
    status = body.get("status", {})
    revisions = status.get("revision"), status.get("programmedRevision")
    counts = status.get("serverCount"), status.get("readyServers"), status.get("toolCount")
    return (
        condition(body, "Ready") == condition(body, "Programmed") == "True"
        and revisions[0] == revisions[1]
        and counts == (servers, servers, servers * TOOLS)
    )


class Observer:
    """Use `run` as a task. `writes` counts, by kind and name, the versions of each object after its first."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._members = {name: world.members(name) for name in world.proxy_names}
        self.right: set[tuple[str, str]] = set()
        self.bodies: dict[tuple[str, str], Body] = {}
        self.writes: Counter[tuple[str, str]] = Counter()
        self._configs: dict[str, Any] = {}
        self.last = time.perf_counter()
        """When anything was last seen to change."""

    async def run(self, api: Api) -> None:
        async with asyncio.TaskGroup() as group:
            for kind in (meta.SERVER, meta.PROXY):
                group.create_task(api.follow(kind.path(NAMESPACE), lambda e, b, k=kind.kind: self._resource(k, e, b)))
            group.create_task(api.follow(CONFIGS, self._config))

    def _resource(self, kind: str, event: str, body: Body) -> None:
        self.last = time.perf_counter()
        name = body["metadata"]["name"]
        key = kind, name
        if event == "MODIFIED":
            self.writes[key] += 1
        self.bodies[key] = body
        right = server_is_right(body) if kind == meta.SERVER.kind else proxy_is_right(body, self._members[name])
        (self.right.add if right else self.right.discard)(key)

    def _config(self, _: str, body: Body) -> None:
        self.last = time.perf_counter()
        name = body["metadata"]["name"]
        held = body.get("data"), body.get("binaryData")
        if held != self._configs.get(name):
            self.writes["ConfigMap", name] += 1
        self._configs[name] = held

    @property
    def all_right(self) -> bool:
        return len(self.right) == self._world.servers + self._world.proxies

    def counts(self, kind: str) -> list[int]:
        """Writes of each object of a kind."""
        return [count for (of, _), count in self.writes.items() if of == kind]

    def wrong(self) -> str:
        """Some of what is not right, in its own words."""
        named = [
            *((meta.PROXY.kind, name) for name in self._world.proxy_names),
            *((meta.SERVER.kind, name) for name in self._world.server_names),
        ]
        missing = [key for key in named if key not in self.right]
        told = [f"{kind} {name}: {_ready(self.bodies.get((kind, name)))}" for kind, name in missing[:4]]
        return f"{len(missing)} are not right: {'; '.join(told)}"


def _ready(body: Body | None) -> str:
    listed = (body or {}).get("status", {}).get("conditions", ())
    return next((f"{c['reason']}: {c['message']}" for c in listed if c["type"] == "Ready"), "no status")
