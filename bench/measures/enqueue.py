"""Many jobs into the queue while nobody works: ours by the statement of the sweep, from flagged wallets; the peers' by
their own call for many jobs, in chunks of the size that suits them best."""

from bench.bench import Bench, Incomplete
from bench.contestants import OURS, Contestant
from bench.result import Result

PATIENCE = 120.0


async def measure(bench: Bench) -> list[Result]:
    """Jobs a second; of ours also what one takes of the processors, client and server together."""
    jobs = bench.wallets
    used: list[float] = []

    async def one(racer: Contestant) -> float:
        dsn = await bench.database(racer)
        bench.reset(racer, dsn)
        report = await bench.ask(racer, "bulk", dsn, PATIENCE, "--count", jobs, "--chunk", racer.chunk)
        if report["rows"] != jobs:
            raise Incomplete(f"{racer.name} enqueued {report['rows']} of {jobs} jobs")
        if racer.name == OURS:
            used.append(report["cpu"] / jobs * 1e6)
        return jobs / ((report["after"] - report["before"]) / 1e9)

    bench.expect(bench.rounds * len(bench.contestants))
    rates = await bench.rounds_of(bench.contestants, one, "enqueue")
    settings = {"jobs": jobs, "chunk": {racer.name: racer.chunk for racer in bench.contestants}}
    return [
        Result("enqueue.rate", "jobs/s", rates, lower_is_better=False, settings=settings),
        Result("enqueue.cpu", "µs/job", {OURS: used}, settings=settings),
    ]
