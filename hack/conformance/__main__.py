"""python -m conformance: run the suite and write build/conformance.json; the exit code says whether all is well."""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Final

from conformance.results import ALL, REVISIONS, Run, expected_failures, summary, verdict
from conformance.suite import HERE, ROOT, Broken, install, run

AT_ONCE: Final = 1
"""The suite gives some answers half a second, so no other run of it is to be in the way."""
BUILD: Final = ROOT / "build"


async def main() -> int:
    """Run everything; returns the exit code."""
    started = time.monotonic()
    expected = expected_failures((HERE / "expected-failures.yaml").read_text())
    try:
        packages = await install()
    except (Broken, OSError) as error:
        print(f"conformance: {error}", file=sys.stderr)
        return 2
    room = asyncio.Semaphore(AT_ONCE)

    async def one(what: str, *, proxied: bool) -> Run:
        async with room:
            keep = _folder(f"{what}-{'proxy' if proxied else 'plain'}")
            return await run(packages, what, proxied=proxied, keep=keep)

    whats = (*REVISIONS, ALL)
    try:
        found = await asyncio.gather(*(one(what, proxied=proxied) for proxied in (True, False) for what in whats))
    except (Broken, TimeoutError) as error:
        print(f"conformance: {error or 'it took too long to start'}", file=sys.stderr)
        return 2
    runs, plain = found[: len(whats)], dict(zip(whats, found[len(whats) :], strict=True))
    figures = summary(runs, plain)
    (BUILD / "conformance.json").write_text(json.dumps(figures, indent=2) + "\n")
    for what, counts in figures.items():
        print(f"{what:<12}{counts['passed']}/{counts['total']} through the proxy, {counts['plain_passed']} without it")
    problems = verdict(runs, plain[ALL], expected)
    for problem in problems:
        print(f"✗ {problem}")
    print(f"{len(expected)} failures are expected; {time.monotonic() - started:.0f} s")
    return 1 if problems else 0


def _folder(name: str) -> Path:
    folder = BUILD / "conformance" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
