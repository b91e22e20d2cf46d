"""What seeing the fast lane costs it, by counted instructions: with the code that only that needs, and with that code cut out.

    python -m bench.instructions [metrics] [traces] [inspector] [--processes 2]

Each variant of the proxy (`bench.cut`) runs under callgrind and answers the same calls. A reading is the instructions of the
event loop's thread over a number of them, after a warm-up, and the figure of a process the median of its
readings. The cost is the ratio of two variants, the spread the ratios of their processes by themselves.
Only what the loop does with what has come on a connection is counted, which is the lane's work; timers are not. Instructions are
those in user mode: the kernel's part of a call, and missed caches, are not among them. The server is the barest one, whose answer
comes whole and in the same words, so that the lane's share is as small, and the ratio as great, as it gets.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import uvloop

from bench import callgrind
from bench.load import Client, measure, opened
from bench.procs import NotReady, backend
from bench.targets import KEY, config, proxy, write_config
from bench.wire import TOOL, Era

WARM_UP: Final = 256
CALLS: Final = 128
"""Of one reading: a whole number of times what the lane counts at once."""
READINGS: Final = 5
HANDLER: Final = "uv__stream_io"
"""Of libuv: what the event loop does with what has come on a connection, the lane's whole work among it."""
READY_SECONDS: Final = 300.0
CALL_SECONDS: Final = 120.0


@dataclass(frozen=True)
class Scenario:
    """Calls that are all alike."""

    front: Era
    method: str
    concurrency: int

    def __str__(self) -> str:
        return f"{self.front} {self.method} c={self.concurrency}"


@dataclass(frozen=True)
class Variant:
    """A proxy: what is cut out of it, and what its configuration has beside the rest."""

    cut: str = "nothing"
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Question:
    """What one thing costs: the ratio of `having` to `without`."""

    of: str
    about: str
    having: str
    without: str


VARIANTS: Final[Mapping[str, Variant]] = {
    "whole": Variant(),
    "no metrics": Variant("metrics"),
    "log off": Variant(more={"accessLog": False}),
    "log off, no metrics": Variant("metrics-and-log", {"accessLog": False}),
    "no traces": Variant("traces"),
    "no traces, no contexts": Variant("traces-and-contexts"),
    "no recorder": Variant("recorder"),
    "inspector": Variant(more={"inspector": {"operators": ["bench"]}}),
}
QUESTIONS: Final = (
    Question("metrics", "metrics", "whole", "no metrics"),
    Question("metrics", "metrics, without an access log", "log off", "log off, no metrics"),
    Question("traces", "tracing that is off", "whole", "no traces"),
    Question("traces", "the same, and clients' contexts passed on", "whole", "no traces, no contexts"),
    Question("inspector", "the inspector's recorder that is off", "whole", "no recorder"),
    Question("inspector", "one that is on while nobody watches", "inspector", "whole"),
)
TOPICS: Final = tuple(dict.fromkeys(question.of for question in QUESTIONS))
SCENARIOS: Final = tuple(
    Scenario(front, method, concurrency)
    for front in ("legacy", "modern")
    for method, concurrency in (("tools/call", 1), ("tools/call", 16), ("tools/list", 1))
)


@dataclass(frozen=True)
class Readings:
    """Of one process in one scenario: instructions per call, a number a reading."""

    variant: str
    scenario: Scenario
    each: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(self.each)


@dataclass(frozen=True)
class Cost:
    """Instructions per call, their ratio, and the least and the greatest ratio of two processes."""

    of: str
    about: str
    scenario: str
    having: float
    without: float
    ratio: float
    low: float
    high: float

    def __str__(self) -> str:
        return (
            f"{self.scenario:24} {self.about:42} {self.ratio - 1:+.2%} ({self.low - 1:+.2%} to {self.high - 1:+.2%}):"
            f" {self.having:,.0f} a call, {self.without:,.0f} without"
        )


def cost(question: Question, scenario: Scenario, found: Sequence[Readings]) -> Cost:
    """Of processes of both variants of `question`, in any order, among others."""
    sides = [
        [each.median for each in found if each.variant == variant and each.scenario == scenario]
        for variant in (question.having, question.without)
    ]
    having, without = map(statistics.mean, sides)
    return Cost(
        question.of,
        question.about,
        str(scenario),
        having,
        without,
        ratio=having / without,
        low=min(sides[0]) / max(sides[1]),
        high=max(sides[0]) / min(sides[1]),
    )


async def readings(scenario: Scenario, base: str, server: str, counter: callgrind.Counter) -> list[float]:
    """Raises RuntimeError where a call failed."""
    tool = f"{server}_{TOOL}" if scenario.method == "tools/call" else ""
    headers = {"authorization": f"Bearer {KEY}"}
    clients = await opened(
        f"{base}/mcp", scenario.front, scenario.concurrency, headers=headers, method=scenario.method, tool=tool
    )
    await _called(clients, WARM_UP)
    await asyncio.to_thread(counter.on)
    await _called(clients, CALLS)
    await asyncio.to_thread(counter.read)
    found = []
    for _ in range(READINGS):
        await _called(clients, CALLS)
        found.append(await asyncio.to_thread(counter.read) / CALLS)
    await asyncio.to_thread(counter.off)
    for client in clients:
        await client.close()
    return found


async def _called(clients: Sequence[Client], calls: int) -> None:
    found = await measure(clients, calls=calls, seconds=CALL_SECONDS)
    if found.errors or found.calls != calls:
        raise RuntimeError(f"{found.errors} of {found.calls} calls failed: {found.problems}")


@contextmanager
def backends(folder: Path) -> Iterator[Mapping[Era, tuple[str, str]]]:
    """One for each era: the name that the proxy knows it by, and its URL."""
    with ExitStack() as stack:
        yield {
            era: (
                name,
                f"{stack.enter_context(backend(folder / f'backend-{era}.log', era=era, server='raw'))[0]}/{name}/mcp",
            )
            for era, name in (("legacy", "a"), ("modern", "b"))
        }


def process(name: str, servers: Mapping[Era, tuple[str, str]], folder: Path, ask: Callable[..., Any]) -> list[Readings]:
    """What a process of the variant `name` needs in each scenario. Raises NotReady, RuntimeError, callgrind.Missing."""
    variant = VARIANTS[name]
    settings, out = folder / "config", folder / "callgrind"
    write_config(settings, config(dict(servers.values()), **variant.more))
    with proxy(
        settings,
        name="proxy",
        env=callgrind.REPEATABLE,
        program=["bench.cut", variant.cut],
        under=callgrind.command(out, HANDLER),
        tools=len(servers),
        seconds=READY_SECONDS,
    ) as (base, running):
        counter = callgrind.Counter(running.pids()[0], out)
        return [
            Readings(name, scenario, ask(readings(scenario, base, servers[scenario.front][0], counter)))
            for scenario in SCENARIOS
        ]


def measured(topics: Sequence[str], *, processes: int) -> list[Cost]:
    """All questions of these topics; prints each process's figures as they come, and the answers."""
    questions = [question for question in QUESTIONS if question.of in topics]
    names = list(dict.fromkeys(name for q in questions for name in (q.having, q.without)))
    found: list[Readings] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        backends(Path(folder)) as servers,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        for turn in range(processes):
            for name in names:
                place = Path(folder) / f"{turn}-{name.replace(' ', '-')}"
                for each in process(name, servers, place, runner.run):
                    found.append(each)
                    least, most = min(each.each) / each.median - 1, max(each.each) / each.median - 1
                    words = f"{each.median:,.0f} instructions a call, readings {least:+.1%} to {most:+.1%}"
                    print(f"  {each.scenario!s:24} {name:24} {words}", flush=True)
    costs = [cost(question, scenario, found) for question in questions for scenario in SCENARIOS]
    for one in costs:
        print(one, flush=True)
    return costs


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("topics", nargs="*", metavar="|".join(TOPICS), help="all where none is named")
    parser.add_argument("--processes", type=int, default=2, help="of each variant")
    parser.add_argument("--out", type=Path, default=Path("build/bench/instructions.json"))
    args = parser.parse_args()
    if unknown := set(args.topics) - set(TOPICS):
        parser.error(f"no topic: {', '.join(sorted(unknown))}")
    try:
        costs = measured(args.topics or TOPICS, processes=args.processes)
    except (callgrind.Missing, NotReady, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps([asdict(one) for one in costs], indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
