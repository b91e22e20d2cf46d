"""Colours, where somebody looks: on a terminal, unless NO_COLOR is set (https://no-color.org)."""

import argparse
import os
from collections.abc import Mapping
from typing import Final, Literal, TextIO

Colour = Literal["red", "green", "yellow", "cyan", "bold", "dim"]
_CODES: Final[Mapping[Colour, str]] = {
    "red": "31",
    "green": "32",
    "yellow": "33",
    "cyan": "36",
    "bold": "1",
    "dim": "2",
}


class Paint:
    """Colours a text, or leaves it alone."""

    def __init__(self, *, on: bool) -> None:
        self.on = on

    def __call__(self, text: str, colour: Colour | None) -> str:
        return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if self.on and colour and text else text


def add_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--color",
        choices=("auto", "always", "never"),
        default="auto",
        help="auto: on a terminal, unless NO_COLOR is set (default: auto)",
    )


def paint(choice: str, out: TextIO, environ: Mapping[str, str] = os.environ) -> Paint:
    if choice == "auto":
        return Paint(on=out.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb")
    return Paint(on=choice == "always")
