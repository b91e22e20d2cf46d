"""The proxy's program without what one way of seeing it needs: cut out of its source as it is loaded, so that nothing of it runs.

    python -m bench.cut metrics serve --config-dir FOLDER …      # as `mcp-operator-proxy serve`
    python -m bench.cut nothing serve --config-dir FOLDER …      # loaded the same way, whole

What is cut stands in `CUTS`, word for word: where the source has changed since, the program does not start.
"""

import importlib.abc
import importlib.machinery
import sys
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

LANE: Final = "mcp_operator_proxy.fastlane.lane"
CALL: Final = "mcp_operator_proxy.fastlane.call"
EXCHANGE: Final = "mcp_operator_proxy.fastlane.exchange"


class Stale(Exception):
    """A cut whose words the source does not have, or has more than once."""


@dataclass(frozen=True)
class Cut:
    """`old` stands in the source of `module` once, and becomes `new`."""

    module: str
    old: str
    new: str = ""


_HERE: Final = (
    Cut(LANE, "        self.settle()\n        now = time.perf_counter()\n", "        now = time.perf_counter()\n"),
)
"""A program that is measured counts what it has gathered with the call that makes it enough, and never by the clock."""
_METRICS: Final = (
    Cut(EXCHANGE, "self.started = self.sent = self.last_sent = inc", "self.started = self.last_sent = inc"),
    Cut(EXCHANGE, "            self.sent = time.perf_counter()\n"),
    Cut(EXCHANGE, "        self.heard = 0.0\n"),
    Cut(EXCHANGE, "        self.heard = time.perf_counter()\n"),
    Cut(EXCHANGE, "        self.end_status: Status | None = None\n"),
    Cut(
        LANE,
        """\
        hot = exchange.hot
        added = exchange.sent - exchange.started + ended - exchange.heard
        if outcome == "ok":
            gathered = self._gathered
            gathered.extend((hot, seconds, added))
            if len(gathered) >= ENOUGH:
                self.settle()
        else:
            self._count(exchange, outcome, seconds, added)
        self._observe(incoming, request, outcome, status, seconds, hot.upstream.backend.id)
""",
        "        self._observe(incoming, request, outcome, status, seconds, exchange.hot.upstream.backend.id)\n",
    ),
    Cut(
        LANE,
        """\
        lists = self._spent.lists
        lists.extend((route.tallies[request.method], seconds))
        if len(lists) >= ENOUGH_LISTS:
            self.settle()
        if self._ticking is None:
            self._keep_time()
        self._observe""",
        "        self._observe",
    ),
)
_CLOCKS: Final = (
    Cut(CALL, "        self.arrived = time.perf_counter()\n"),
    Cut(
        EXCHANGE,
        "self.started = self.last_sent = incoming.arrived",
        "self.started = self.last_sent = time.perf_counter()",
    ),
    Cut(LANE, "        ended = time.perf_counter()\n        seconds = ended - exchange.started\n"),
    Cut(
        LANE,
        "self._observe(incoming, request, outcome, status, seconds, exchange.hot",
        "self._observe(incoming, request, outcome, status, 0.0, exchange.hot",
    ),
    Cut(LANE, "        seconds = time.perf_counter() - incoming.arrived\n"),
    Cut(LANE, '"ok", 200, seconds, None)', '"ok", 200, 0.0, None)'),
)
"""What without an access log nothing but metrics needs. A call's time limit needs a clock at its start."""
_TRACES: Final = (
    Cut(
        LANE,
        """\
        trace = None
        if self.tracing is not None:
            trace, lines, members = self.tracing.begin(incoming, number)
            more, meta = more + lines, spliced(meta, members)
        else:
            found = incoming.head.found
            if (parent := found.get(b"traceparent")) is not None:
                more += b"traceparent: " + parent + b"\\r\\n"
                if (state := found.get(b"tracestate")) is not None:
                    more += b"tracestate: " + state + b"\\r\\n"
            if incoming.carried is not None:
                meta = spliced(meta, incoming.carried.members)
""",
        """\
        found = incoming.head.found
        if (parent := found.get(b"traceparent")) is not None:
            more += b"traceparent: " + parent + b"\\r\\n"
            if (state := found.get(b"tracestate")) is not None:
                more += b"tracestate: " + state + b"\\r\\n"
        if incoming.carried is not None:
            meta = spliced(meta, incoming.carried.members)
""",
    ),
    Cut(LANE, "number, outgoing, ticket, self._over, trace)", "number, outgoing, ticket, self._over)"),
    Cut(LANE, "        if exchange.trace is not None:\n            settle(exchange, exchange.trace, outcome)\n"),
    Cut(
        LANE,
        "        if self.tracing is not None:\n            self.tracing.listed(incoming, request, version)\n",
    ),
    Cut(
        EXCHANGE,
        "        trace: Trace | None = None,\n    ) -> None:\n        self.incoming",
        "    ) -> None:\n        self.incoming",
    ),
    Cut(EXCHANGE, "        self.trace = trace\n"),
)
_CONTEXTS: Final = (
    Cut(
        LANE,
        """\
        found = incoming.head.found
        if (parent := found.get(b"traceparent")) is not None:
            more += b"traceparent: " + parent + b"\\r\\n"
            if (state := found.get(b"tracestate")) is not None:
                more += b"tracestate: " + state + b"\\r\\n"
        if incoming.carried is not None:
            meta = spliced(meta, incoming.carried.members)
""",
    ),
    Cut(LANE, "given = _without_context(incoming, request.meta)\n        if", "given = request.meta\n        if"),
    Cut(LANE, "given = _without_context(incoming, request.meta) or b", "given = request.meta or b"),
    Cut(CALL, "        self.carried: Carried | None = None\n"),
)
"""What passes a client's context on where nothing is traced."""
_RECORDER: Final = (
    Cut(
        LANE,
        """\
        if self.recorder is not None and self.recorder.wants(head.principal):
            sink = RecordingSink(self.recorder, head, body, sink)
""",
    ),
    Cut(
        LANE,
        """\
        watched = self.recorder is not None and type(incoming.sink) is RecordingSink
        kind = RecordedExchange if watched else Exchange
        exchange = kind(""",
        "        exchange = Exchange(",
    ),
    Cut(
        LANE,
        """\
        if self.recorder is not None and isinstance(incoming.sink, RecordingSink):
            incoming.sink.observed(request, outcome, seconds, server)
""",
    ),
)

CUTS: Final[Mapping[str, Sequence[Cut]]] = {
    "nothing": _HERE,
    "metrics": (*_HERE, *_METRICS),
    "metrics-and-log": (*_HERE, *_METRICS, *_CLOCKS),
    "traces": (*_HERE, *_TRACES),
    "traces-and-contexts": (*_HERE, *_TRACES, *_CONTEXTS),
    "recorder": (*_HERE, *_RECORDER),
}
"""Of whole lines, so that what stays is as fast as if the rest had never been written."""


def trimmed(source: str, cuts: Sequence[Cut]) -> str:
    """`source` after `cuts`, one after another. Raises Stale."""
    for cut in cuts:
        if (found := source.count(cut.old)) != 1:
            raise Stale(f"{cut.module} has this {found} times, not once:\n{cut.old}")
        source = source.replace(cut.old, cut.new)
    return source


class _Loader(importlib.machinery.SourceFileLoader):
    """It neither reads compiled files nor writes any."""

    def __init__(self, name: str, path: str, cuts: Sequence[Cut]) -> None:
        super().__init__(name, path)
        self._cuts = cuts

    def get_code(self, fullname: str) -> types.CodeType:  # noqa: ARG002
        source = self.get_data(self.path).decode()
        code: types.CodeType = compile(trimmed(source, self._cuts), self.path, "exec", dont_inherit=True)
        return code


class Finder(importlib.abc.MetaPathFinder):
    """Of the modules that `cuts` are made in."""

    def __init__(self, cuts: Sequence[Cut]) -> None:
        self._cuts = {module: [cut for cut in cuts if cut.module == module] for module in {cut.module for cut in cuts}}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self._cuts:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = _Loader(fullname, spec.origin, self._cuts[fullname])
        return spec


def main() -> int:
    cuts = CUTS[sys.argv.pop(1)]
    sys.meta_path.insert(0, Finder(cuts))
    from mcp_operator_proxy import cli  # noqa: PLC0415 - what it imports is cut

    return cli.main()


if __name__ == "__main__":
    raise SystemExit(main())
