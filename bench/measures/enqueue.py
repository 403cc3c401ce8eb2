"""Many jobs into the queue while nobody works: ours by the statement of the sweep, from flagged wallets; the peers' by
their own call for many jobs, in chunks of the size that suits them best."""

from bench.bench import Bench
from bench.result import Result

NAME = "enqueue"
JOBS = 50_000
PATIENCE = 120.0


async def measure(bench: Bench) -> list[Result]:
    """Jobs a second."""
    jobs = 5_000 if bench.short else JOBS
    dsns = {racer.name: await bench.set_up(racer, "--wallets", jobs) for racer in bench.contestants}
    rates: dict[str, list[float]] = {racer.name: [] for racer in bench.contestants}
    for _ in range(bench.rounds):
        for racer in bench.contestants:
            bench.reset(racer, dsns[racer.name])
            report = await bench.ask(racer, "bulk", dsns[racer.name], PATIENCE, "--count", jobs, "--chunk", racer.chunk)
            if report["rows"] != jobs:
                raise RuntimeError(f"{racer.name} enqueued {report['rows']} of {jobs} jobs")
            rates[racer.name].append(jobs / ((report["after"] - report["before"]) / 1e9))
            bench.advance(f"enqueue of {racer.name}")
    chunks = {racer.name: racer.chunk for racer in bench.contestants}
    return [
        Result(
            NAME,
            "jobs/s",
            rates,
            lower_is_better=False,
            aim="≥ 80,000 jobs/s",
            settings={"jobs": jobs, "chunk": chunks},
        )
    ]
