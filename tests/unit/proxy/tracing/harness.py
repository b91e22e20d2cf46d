"""A proxy that traces, a server behind it that keeps what it was sent, and a collector."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import count
from typing import Any

from support.backends import ServedApp
from support.collector import Collector, Seen
from support.gateway import Gateway, make_config, running_gateway
from support.rawclient import Answer, Front, RawClient, raw_client
from support.scripted import Scripted, Sent
from support.waiting import Eventually

_numbers = count(1)


@dataclass
class Stage:
    client: RawClient
    scripted: Scripted
    gateway: Gateway
    collector: Collector
    urls: dict[str, str]
    endpoint: str

    def config(self, **more: Any) -> Any:
        return make_config(self.urls, **more)

    async def traced(
        self, eventually: Eventually, method: str, params: dict[str, Any], *, flags: str = "01", in_meta: bool = False
    ) -> tuple[Answer, list[Seen], list[Sent]]:
        """Ask within a trace of the client's; the answer, the spans of that trace, and what the server was sent."""
        trace, before = f"{next(_numbers):032x}", len(self.scripted.calls)
        parent = f"00-{trace}-00f067aa0ba902b7-{flags}"
        body, headers = self.client.request(method, params, {"traceparent": parent} if in_meta else None, "r-1")
        answer = await self.client.post(body, headers if in_meta else {**headers, "traceparent": parent})
        if flags == "01":
            await eventually(lambda: any(span.is_server for span in self.collector.of(trace)))
        return answer, self.collector.of(trace), self.scripted.calls[before:]


@contextlib.asynccontextmanager
async def stage(
    front: Front = "modern",
    back: Front = "modern",
    *,
    lane: bool = True,
    tracing: dict[str, Any] | None = None,
    secrets: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
    answers: dict[str, tuple[int, str, str | bytes]] | None = None,
    **config: Any,
) -> AsyncIterator[Stage]:
    """`tracing` is laid over that of the configuration; a session with the server is open already."""
    scripted, collector = Scripted(back), Collector()
    scripted.answers = answers or {}
    async with ServedApp(scripted.app) as served, ServedApp(collector.app, path="") as collecting:
        urls = {"a": served.url}
        wanted = {"endpoint": collecting.url, "serviceName": "tools", **(tracing or {})}
        made = make_config(urls, **{"tracing": wanted, **config})
        async with running_gateway(made, secrets) as gateway, raw_client(gateway.url, front, headers=headers) as client:
            gateway.proxy.lane.enabled = lane
            await client.call("a_text")
            yield Stage(client, scripted, gateway, collector, urls, collecting.url)


def parent_of(sent: Sent) -> tuple[str, str, str]:
    """Trace, span and flags that a server was sent, the same in headers and `_meta`."""
    _, trace, span, flags = sent.headers["traceparent"].split("-")
    assert sent.params["_meta"]["traceparent"] == sent.headers["traceparent"]
    return trace, span, flags
