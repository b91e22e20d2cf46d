"""Rows as a markdown table with ratios, and as a plot."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from bench.stats import Row

_HEADINGS: Final = (
    "target",
    "front",
    "c",
    "req/s",
    "p50 ms",
    "p99 ms",
    "CPU ms/call",
    "backend req/call",
    "errors",
    "of direct",
    "x stock",
)


def ratio(row: Row, others: Sequence[Row], word: str) -> float | None:
    """`row`'s throughput as a multiple of the first other's whose target contains `word`, measured in the same way."""
    for other in others:
        same = (other.front, other.backend, other.concurrency) == (row.front, row.backend, row.concurrency)
        if same and word in other.target and row.rps and other.rps:
            return row.rps / other.rps
    return None


def _number(value: float | None, digits: int) -> str:
    if value is None or math.isnan(value):
        return "-"
    return f"{value:,.{digits}f}"


def markdown(rows: Sequence[Row], stock: str) -> str:
    """A table of all rows; the reasons of those with errors stand under it. `stock` names the target of `x stock`."""
    lines = ["| " + " | ".join(_HEADINGS) + " |", "|" + " --- |" * len(_HEADINGS)]
    for row in rows:
        of_direct, of_stock = ratio(row, rows, "direct"), ratio(row, rows, stock)
        cells = (
            row.target,
            row.front,
            str(row.concurrency),
            _number(row.rps, 0 if row.rps and row.rps >= 100 else 1),
            _number(row.p50_ms, 2),
            _number(row.p99_ms, 2),
            _number(row.cpu_ms_per_call, 3),
            _number(row.backend_requests_per_call, 2),
            str(row.errors),
            _number(of_direct, 3),
            _number(of_stock, 0 if of_stock and of_stock >= 10 else 1),
        )
        lines.append("| " + " | ".join(cells) + " |")
    reasons = [f"- {r.target}, {r.front}, c={r.concurrency}: {_one_line(r.reason)}" for r in rows if r.reason]
    return "\n".join([*lines, *(["", "Errors:", *reasons] if reasons else [])]) + "\n"


def _one_line(text: str) -> str:
    return " ".join(text.replace("|", "/").split())[:300]


def findings(found: Mapping[str, object]) -> str:
    """The figures that are no rows, as a list."""
    return "".join(f"- {name}: {_value(value)}\n" for name, value in found.items())


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}" if value < 1000 else f"{value:,.0f}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_value(inner)}" for key, inner in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)


def plot(rows: Sequence[Row], title: str, noise: str, files: Sequence[Path]) -> None:
    """Throughput by target on a logarithmic axis, one panel a front era, one bar a concurrency."""
    import matplotlib as mpl  # noqa: PLC0415 - it takes a second to import

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    fronts = list(dict.fromkeys(row.front for row in rows))
    targets = list(dict.fromkeys(row.target for row in rows))
    levels = sorted({row.concurrency for row in rows})
    height = 1.6 + 0.62 * len(targets)
    figure, axes = plt.subplots(1, len(fronts), figsize=(7.2 * len(fronts), height), sharey=True, squeeze=False)
    colours = dict(zip(levels, ("#9ecae1", "#4292c6", "#08519c", "#08306b"), strict=False))
    thickness = 0.8 / len(levels)
    for axis, front in zip(axes[0], fronts, strict=True):
        for index, level in enumerate(levels):
            shown = {r.target: r for r in rows if r.front == front and r.concurrency == level}
            for place, target in enumerate(targets):
                row = shown.get(target)
                y = place + (index - (len(levels) - 1) / 2) * thickness
                if row is not None and row.rps:
                    axis.barh(y, row.rps, thickness, color=colours[level])
                    axis.text(row.rps * 1.08, y, f"{row.rps:,.0f}", va="center", fontsize=7)
                elif row is not None and index == len(levels) // 2:
                    axis.text(1.1, y, "no answer", va="center", fontsize=7, color="#a50f15")
        axis.set_xscale("log")
        axis.set_xlim(1, 4 * max((row.rps or 1) for row in rows))
        axis.set_title(f"{front} front")
        axis.set_xlabel("tools/call per second (log)")
        axis.grid(axis="x", which="major", alpha=0.3)
        axis.set_axisbelow(True)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    axes[0][0].set_yticks(range(len(targets)), targets)
    axes[0][0].invert_yaxis()
    handles = [plt.Rectangle((0, 0), 1, 1, color=colours[level]) for level in levels]
    figure.legend(handles, [f"c = {level}" for level in levels], loc="upper right", ncols=len(levels), frameon=False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    figure.text(0.01, 0.01, noise, fontsize=7, color="#555555")
    figure.tight_layout(rect=(0, 0.03, 1, 0.97))
    for file in files:
        figure.savefig(file, dpi=150)
    plt.close(figure)
