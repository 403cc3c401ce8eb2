"""The plots of docs/benchmarks.md: horizontal bars of medians, with the range of the rounds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from bench.contestants import OURS
from bench.result import FLOOR

OURS_COLOUR, OTHER_COLOUR, FLOOR_COLOUR = "#0969da", "#8c959f", "#d4a72c"
"""Legible on light and on dark pages, and apart for those who do not see colours."""


@dataclass(frozen=True)
class Plot:
    """One picture: a panel for each measure."""

    title: str
    panels: Mapping[str, str]
    """Measure → what its panel is called."""
    logarithmic: bool = False


PLOTS: Mapping[str, Plot] = {
    "latency": Plot(
        "Event → handler, idle system (ms on a logarithmic scale, less is better)",
        {"latency.from_call.p50": "median", "latency.from_call.p99": "99 of 100"},
        logarithmic=True,
    ),
    "busy": Plot(
        "Event → handler while 32 sessions commit (ms on a logarithmic scale, less is better)",
        {"busy.from_call.p50": "median", "busy.from_call.p99": "99 of 100"},
        logarithmic=True,
    ),
    "drain": Plot(
        "Jobs drained a second (more is better)", {"drain.1.rate": "one process", "drain.2.rate": "two processes"}
    ),
    "enqueue": Plot("Jobs enqueued a second (more is better)", {"enqueue.rate": "in bulk"}),
    "size": Plot(
        "1,000,000 wallets, 10,000,000 finished jobs (ms, less is better)",
        {"size.claim": "claim of one", "size.finish": "finish of one", "size.sweep_500": "sweep of 500"},
    ),
    "held": Plot(
        "The same while a transaction is held (ms, less is better)",
        {"held.claim": "claim of one", "held.finish": "finish of one", "held.sweep_500": "sweep of 500"},
    ),
}


def plots(found: Mapping[str, Mapping[str, Any]], folder: Path) -> dict[str, str]:
    """Write an SVG for each group that was measured; its file name by group."""
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for group, plot in PLOTS.items():
        panels = {measure: name for measure, name in plot.panels.items() if measure in found}
        if panels:
            written[group] = f"bench-{group}.svg"
            _draw(plot, panels, found, folder / written[group])
    return written


def _draw(plot: Plot, panels: Mapping[str, str], found: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    # The same figures give the same file.
    with mpl.rc_context({"svg.hashsalt": path.name, "svg.fonttype": "none", "font.family": "sans-serif"}):
        bars = max(len(_figures(found[measure])) for measure in panels)
        figure = Figure(figsize=(9, 0.9 + 0.34 * bars), layout="constrained")
        figure.suptitle(plot.title)
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axis, (measure, name) in zip(axes, panels.items(), strict=True):
            _panel(axis, _figures(found[measure]))
            axis.set_title(name, fontsize="medium")
            if plot.logarithmic:
                axis.set_xscale("log")
        axes[0].invert_yaxis()  # for all: they share it
        figure.savefig(path, metadata={"Date": None, "Creator": None}, facecolor="white")


def _panel(axis: Any, figures: Sequence[tuple[str, float, float, float]]) -> None:
    names = [name for name, *_ in figures]
    medians = [median for _, median, _, _ in figures]
    ranges = [[median - low for _, median, low, _ in figures], [high - median for _, median, _, high in figures]]
    colours = [{OURS: OURS_COLOUR, FLOOR: FLOOR_COLOUR}.get(name, OTHER_COLOUR) for name in names]
    drawn = axis.barh(names, medians, xerr=ranges, color=colours, height=0.65, error_kw={"lw": 1, "capsize": 2})
    axis.bar_label(
        drawn, labels=[f"{median:,.3g}" if median < 1000 else f"{median:,.0f}" for median in medians], padding=6
    )
    axis.spines[["top", "right"]].set_visible(False)
    axis.margins(x=0.22)


def _figures(result: Mapping[str, Any]) -> list[tuple[str, float, float, float]]:
    """Name, median, least and most: the floor first, then ours, then the others in their order."""
    rows = []
    if result["floor"]:
        rows.append((FLOOR, *(result["floor"][key] for key in ("median", "min", "max"))))
    if result["ours"] is not None:
        rows.append((OURS, result["ours"], result["min"], result["max"]))
    return rows + [(name, *(one[key] for key in ("median", "min", "max"))) for name, one in result["peers"].items()]
