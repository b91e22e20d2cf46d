"""A program under callgrind (valgrind), whose instructions are counted from one moment to another.

What it does while nothing is counted runs about eight times slower than without valgrind, and what is counted fifty times.
Instructions are those in user mode, so neither the kernel's work nor what a cache misses is among them.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bench.procs import NotReady

ASK_SECONDS: Final = 60.0
REPEATABLE: Final[Mapping[str, str]] = {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
"""Environment of a Python program that is to do the same each time."""
_PART: Final = re.compile(r"^(thread|desc: Trigger|totals): *(.*)$", re.MULTILINE)


class Missing(Exception):
    """The machine has no valgrind."""


def command(out: Path, within: str) -> list[str]:
    """What stands in front of a program's own command line. Raises Missing.

    What the C function `within` does is counted, and all that it calls. The counts go to files whose names begin with `out`.
    """
    if shutil.which("valgrind") is None or shutil.which("vgdb") is None:
        raise Missing("valgrind is not installed: hack/valgrind installs Debian's package")
    return [
        "valgrind",
        "--tool=callgrind",
        "--instr-atstart=no",
        "--separate-threads=yes",
        f"--toggle-collect={within}",
        f"--callgrind-out-file={out}",
    ]


def totals(dump: str) -> tuple[int, str, int]:
    """Thread, what it was dumped for, and instructions, of a dump's text (Callgrind Format Specification). Raises ValueError."""
    found = {name: value.strip() for name, value in _PART.findall(dump)}
    try:
        return int(found["thread"]), found["desc: Trigger"], int(found["totals"])
    except KeyError as error:
        raise ValueError(f"a dump of callgrind has no line {error}") from None


class Counter:
    """Of the process `pid`, which writes its dumps to files whose names begin with `out`."""

    def __init__(self, pid: int, out: Path) -> None:
        self._pid = pid
        self._out = out
        self._dumps = 0

    def on(self) -> None:
        """Count from now on."""
        self._ask("instrumentation on")

    def off(self) -> None:
        self._ask("instrumentation off")

    def read(self, thread: int = 1) -> int:
        """Instructions of a thread since the last reading. Raises NotReady."""
        self._dumps += 1
        hint = f"reading-{self._dumps}"
        self._ask(f"dump {hint}")
        found = None
        for file in self._out.parent.glob(f"{self._out.name}.{self._dumps}-*"):
            number, trigger, count = totals(file.read_text())
            if number == thread and trigger == f"dump {hint}":
                found = count
            file.unlink()
        if found is None:
            raise NotReady(f"callgrind has not dumped thread {thread}")
        return found

    def _ask(self, what: str) -> None:
        done = subprocess.run(
            ["vgdb", f"--pid={self._pid}", what],
            capture_output=True,
            text=True,
            timeout=ASK_SECONDS,
            check=False,
            env=dict(os.environ),
        )
        if done.returncode:
            raise NotReady(f"vgdb {what}: {done.stderr.strip()[-300:]}")
