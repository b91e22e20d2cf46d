"""Tracing as a service of the proxy: off until a configuration wants it."""

import asyncio
from typing import TYPE_CHECKING, Final

from mcp_operator_proxy.tracing.counts import Counts, SpanCollector
from mcp_operator_proxy.tracing.lane import LaneTracing
from mcp_operator_proxy.tracing.settings import TracingSettings
from mcp_operator_proxy.tracing.spans import Tracer

if TYPE_CHECKING:
    from mcp_operator_proxy.proxy import Proxy
    from mcp_operator_proxy.swap.prepared import Prepared
    from mcp_operator_proxy.tracing.export import Exporter

CLOSE_SECONDS: Final = 5.0
"""For the spans that wait when the proxy ends."""


class Tracing:
    """`tracer` is None while nothing is traced."""

    def __init__(self, proxy: "Proxy") -> None:
        self._proxy = proxy
        self.settings: TracingSettings | None = None
        self.tracer: Tracer | None = None
        self.lane: LaneTracing | None = None
        """The same for the fast lane."""
        self._exporter: Exporter | None = None
        self._counts = Counts()
        proxy.metrics.registry.register(SpanCollector(self._counts))

    def use(self, prepared: "Prepared") -> None:
        settings = prepared.tracing
        if settings == self.settings:
            return
        self.settings = settings
        if settings is None:
            self.tracer = self.lane = None
            if self._exporter is not None:
                self._exporter.finish()
                self._exporter = None
            return
        if self._exporter is None:
            from mcp_operator_proxy.tracing.export import Exporter  # noqa: PLC0415 - of an extra; loaded by the settings

            self._exporter = Exporter(settings, self._proxy.holder.instance, self._proxy.egress, self._counts)
        else:
            self._exporter.aim(settings)
        self.tracer = Tracer(settings.sample_ratio, self._exporter.add)
        self.lane = LaneTracing(self.tracer)

    async def close(self) -> None:
        """What is told of the last calls is sent, for a while."""
        self.tracer = self.lane = None
        exporter, self._exporter = self._exporter, None
        if exporter is not None:
            await asyncio.to_thread(exporter.close, CLOSE_SECONDS)
