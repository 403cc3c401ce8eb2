"""Finished jobs that have moved to job_history: what people's questions take with 20,000,000 of them and with a tenth,
and how fast more of them move there. On demand: it takes 25 minutes on two busy cores.

Pages (8 kB) are what a question reads, without the noise of a machine; milliseconds are the median of a round's
repetitions.
"""

import time
from collections.abc import Mapping
from typing import Any

import psycopg

from bench.bench import Bench
from bench.contestants import OURS, ours
from bench.crowd import fill, fill_history, steps
from bench.result import Result

WALLETS = 1_000_000
JOBS = 20_000_000
PART = 10
"""The other side has a part of it."""
MOVED = 250_000
"""Jobs in job_logs on either side, of which eleven in twelve are old enough to move."""
PAGE = 5_000
ADDRESS = f"T{1:033d}"
"""Of the first wallet (bench/flagpost/wallets.sql)."""
REPETITIONS = 15
QUESTIONS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "counts": ("SELECT * FROM get_job_queue_stats()", {}),
    "wallet": ("SELECT * FROM jobs_of_wallet(%(address)s)", {"address": ADDRESS}),
    "newest": ("SELECT * FROM all_jobs ORDER BY created_at DESC LIMIT 50", {}),
    "months": ("SELECT * FROM history_months()", {}),
}
"""What people ask."""
TENTH = f"{OURS}, a tenth of the jobs"
Figures = dict[str, dict[str, list[float]]]


async def measure(bench: Bench) -> list[Result]:
    """``history.move``, and of each question ``history.<name>`` and ``history.<name>.pages``."""
    jobs, wallets = bench.size(JOBS, 50_000), bench.size(WALLETS, 20_000)
    sides = {TENTH: jobs // PART, OURS: jobs}
    moving = bench.size(MOVED, 5_000)
    bench.expect(sum(steps(wallets * count // jobs, count) + 3 for count in sides.values()) + bench.rounds)
    databases = {TENTH: "bench_history_tenth", OURS: "bench_history"}
    try:
        dsns = {side: await bench.set_up(ours(), databases[side], 0) for side in sides}
        moved: dict[str, list[float]] = {}
        for side, count in sides.items():
            of = wallets * count // jobs  # as many jobs a wallet
            fill(dsns[side], of, moving, bench.advance)
            fill_history(dsns[side], of, count, bench.advance)
            moved[side] = [_move(dsns[side])]
            bench.advance(f"{moving:,} finished jobs: moved to {count:,}")
        milliseconds, pages = _ask(bench, dsns)
    finally:
        for database in databases.values():
            bench.server.drop_database(database)
    settings = {"finished_jobs": jobs, "wallets": wallets}
    return [
        Result("history.move", "jobs/s", moved, lower_is_better=False, settings=settings),
        *(Result(f"history.{name}", "ms", figures, settings=settings) for name, figures in milliseconds.items()),
        *(Result(f"history.{name}.pages", "pages", figures, settings=settings) for name, figures in pages.items()),
    ]


def _move(dsn: str) -> float:
    """Move all that is old enough, as the sweep does but without its rests; jobs a second."""
    after: str | None = "00000000-0000-0000-0000-000000000000"
    moved, started = 0, time.perf_counter()
    with psycopg.connect(dsn, autocommit=True) as connection:
        while after is not None:
            ((after, jobs),) = connection.execute(
                "SELECT up_to::text, moved FROM move_finished_jobs(%s, %s, '30 days', '90 days', now())", [after, PAGE]
            ).fetchall()
            moved += jobs
        taken = time.perf_counter() - started
        connection.execute("SELECT fold_job_counts(1000000)")
        for table in (b"job_logs", b"job_history", b"job_counts", b"job_count_deltas"):
            connection.execute(b"VACUUM (ANALYZE) " + table)
    return moved / taken


def _ask(bench: Bench, dsns: Mapping[str, str]) -> tuple[Figures, Figures]:
    """Every question on both sides in turns: milliseconds, and pages."""
    milliseconds: Figures = {name: {side: [] for side in dsns} for name in QUESTIONS}
    pages: Figures = {name: {side: [] for side in dsns} for name in QUESTIONS}
    repetitions = 3 if bench.short else REPETITIONS
    for _ in range(bench.rounds):
        for side, dsn in dsns.items():
            with psycopg.connect(dsn, autocommit=True) as connection:
                for name, (question, parameters) in QUESTIONS.items():
                    milliseconds[name][side].append(_milliseconds(connection, question, parameters, repetitions))
                    pages[name][side].append(_pages(connection, question, parameters))
        bench.advance(f"a round of {len(QUESTIONS)} questions")
    return milliseconds, pages


def _milliseconds(
    connection: psycopg.Connection[Any], question: str, parameters: Mapping[str, Any], repetitions: int
) -> float:
    taken = []
    for _ in range(repetitions + 1):  # the first one warms up
        started = time.perf_counter()
        connection.execute(question.encode(), parameters).fetchall()
        taken.append((time.perf_counter() - started) * 1000)
    return sorted(taken[1:])[repetitions // 2]


def _pages(connection: psycopg.Connection[Any], question: str, parameters: Mapping[str, Any]) -> float:
    explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {question}"
    (([explained],),) = connection.execute(explain.encode(), parameters).fetchall()
    return float(explained["Plan"]["Shared Hit Blocks"] + explained["Plan"]["Shared Read Blocks"])
