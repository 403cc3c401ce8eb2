"""Writes docs/benchmarks.md and its plots from bench/results.

python -m bench.report            from the newest run that is dated
python -m bench.report FILE       from another one

What stands outside the two marks of the page is written by hand, and kept.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.aims import AIMS, Found
from bench.contestants import OURS, ROOT
from bench.result import FLOOR
from bench.run import RESULTS

PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
TITLES: Mapping[str, str] = {
    "latency": "From a committed event to the start of its handler, idle system",
    "busy": "The same while 32 sessions commit",
    "drain": "Draining jobs that do nothing",
    "enqueue": "Bulk enqueue",
    "flips": "Flags turned over by 8 sessions",
    "triggers": "Cost of the triggers",
    "idle": "While nothing happens",
    "size": "At size, against nearly empty",
    "held": "At size, while a session holds a transaction open",
    "evm": "Against a local EVM node",
    "payments": "Payments through the whole pipeline",
}
VERDICTS = {True: "holds", False: "**missed**", None: "not measured"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="?", type=Path)
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    source = options.results or newest(RESULTS)
    if source is None:
        print(f"There are no results in {RESULTS}: run make bench first", file=sys.stderr)
        return 1
    results: list[dict[str, Any]] = json.loads(source.read_text(encoding="utf-8"))
    if not results:
        print(f"{source} holds no results", file=sys.stderr)
        return 1
    from bench.plots import plots  # here, for the tables need no matplotlib

    found = {result["measure"]: result for result in results}
    images = plots(found, options.page.parent / "images")
    page = options.page
    kept = page.read_text(encoding="utf-8") if page.exists() else f"# Benchmarks\n\n{BEGIN}\n{END}\n"
    before, after = hand_written(kept)
    measured = "\n\n".join(measured_part(found, images, source))
    page.write_text(f"{before}{BEGIN}\n\n{measured}\n\n{END}{after}", encoding="utf-8")
    print(f"{page.name} and {len(images)} plots from {source.name}")
    return 0


def newest(folder: Path) -> Path | None:
    """The latest dated run."""
    dated = [path for path in folder.glob("*.json") if re.fullmatch(r"\d{4}-\d\d-\d\d", path.stem)]
    return max(dated, default=None)


def hand_written(page: str) -> tuple[str, str]:
    """What stands before and after the measured part. Raises ValueError where a mark is missing."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page needs the marks {BEGIN} and {END}")
    return before, after


def measured_part(found: Found, images: Mapping[str, str], source: Path) -> Iterator[str]:
    """The paragraphs between the marks."""
    first = next(iter(found.values()))
    yield f"## Run of {source.stem}"
    if first.get("partial"):
        yield f"**Partial:** {first['partial']}."
    yield circumstances(first)
    left_out = {name: why for result in found.values() for name, why in result["left_out"].items()}
    if left_out:
        yield "Left out: " + "; ".join(f"{name} ({why})" for name, why in sorted(left_out.items())) + "."
    yield "### Aims"
    yield table(["#", "aim", "bound", "measured", ""], list(aims(found)), right=(3,))
    for group, title in TITLES.items():
        members = [result for measure, result in found.items() if measure.split(".")[0] == group]
        if not members:
            continue
        yield f"### {title}"
        if group in images:
            yield f"![{title}](images/{images[group]})"
        yield figures(members)
        if group == "payments":
            yield "Calls to the node for each payment, by method:"
            yield from calls(members)


def circumstances(result: Mapping[str, Any]) -> str:
    """Machine, versions and command."""
    rows = [
        ["command", f"`{result['command']}`"],
        *([name, str(value)] for name, value in result["machine"].items()),
        ["versions", ", ".join(f"{name} {version}" for name, version in result["versions"].items())],
        ["rounds", str(max(len(each) for each in result["rounds"].values()))],
    ]
    return table(["", ""], rows)


def aims(found: Found) -> Iterator[list[str]]:
    """A row for each bound."""
    for aim in AIMS:
        for place, bound in enumerate(aim.bounds):
            value = bound.value(found)
            yield [
                str(aim.number) if not place else "",
                aim.what if not place else "",
                bound.words(found),
                "" if value is None else number(value),
                VERDICTS[bound.holds(found)],
            ]


def figures(members: Sequence[Mapping[str, Any]]) -> str:
    """Medians of everybody, with the range of the rounds; ours divided by theirs below."""
    names = list(dict.fromkeys(name for result in members for name in (OURS, *result["peers"])))
    with_floor = any(result["floor"] for result in members)
    rows = []
    for result in members:
        row = [f"`{result['measure']}`<br>{result['unit']}"]
        if with_floor:
            row.append(spread(result["floor"]))
        for name in names:
            if name == OURS:
                ours = {"median": result["ours"], "min": result["min"], "max": result["max"]}
                row.append(spread(ours if result["ours"] is not None else None))
            else:
                row.append(spread(result["peers"].get(name), result["ratios"].get("of_ours", {}).get(name)))
        rows.append(row)
    head = ["", *([FLOOR] if with_floor else []), *(f"**{name}**" if name == OURS else name for name in names)]
    return table(head, rows, right=range(1, len(head)))


def calls(members: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A table for each chain: methods, and how often each was called for a payment in each case."""
    chains = {result["measure"].split(".")[1]: result["settings"]["calls"] for result in members}
    for chain, by_case in chains.items():
        methods = list(dict.fromkeys(method for asked in by_case.values() for method in asked))
        rows = [
            [f"`{method}`", *(number(asked[method]) if method in asked else "–" for asked in by_case.values())]
            for method in methods
        ]
        yield table(
            [chain, *(f"**{name}**" if name == OURS else name for name in by_case)], rows, range(1, len(by_case) + 1)
        )


def spread(figure: Mapping[str, float] | None, ours_by_theirs: float | None = None) -> str:
    if figure is None:
        return "–"
    text = number(figure["median"])
    if figure["min"] != figure["max"]:
        text += f" ({number(figure['min'])}–{number(figure['max'])})"
    if ours_by_theirs is not None:
        text += f"<br>ours ×{number(ours_by_theirs)}"
    return text


def number(value: float) -> str:
    """Three digits, without an exponent."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    marks = ["---:" if place in right else "---" for place in range(len(head))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, marks, *rows))


if __name__ == "__main__":
    sys.exit(main())
