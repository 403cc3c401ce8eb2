"""The sync and the payments of one sender against a local anvil, beside doing it one by one; what reading a balance
costs that did not change; the memory of a sync with many wallets (bench/sync_rate.py, bench/evm_topups.py,
bench/sync_unchanged.py, bench/sync_memory.py). Each has rounds of its own, and runs once.
"""

import importlib.util
import os
import sys
from typing import Any

from bench import children
from bench.bench import Bench
from bench.contestants import OURS, ROOT
from bench.result import Result

ONE_BY_ONE = "one by one"
SCRIPT = "script with web3"
WITHIN = 900.0
ANVIL = ROOT / "tests" / "clients" / "node_modules" / "@foundry-rs" / "anvil-linux-amd64" / "bin" / "anvil"
"""The node of the tests, whose worlds are used here."""
PLACES = {"loopback": "evm.sync.next_door", "20 ms away": "evm.sync.20_ms_away"}


async def measure(bench: Bench) -> list[Result]:
    """Balances read and stored a second, payments in a block, µs, bytes, MB."""
    if not ANVIL.exists() or importlib.util.find_spec("pytest") is None:
        bench.left_out["evm"] = "what the tests need is missing (anvil of tests/clients, pytest)"
        return []
    bench.expect(4)
    if bench.short:
        bench.left_out["evm.sync"] = "takes a minute, whatever the size"
        return [*await unchanged(bench), await topups(bench), await memory(bench)]
    return [*await rates(bench), *await unchanged(bench), await topups(bench), await memory(bench)]


async def rates(bench: Bench) -> list[Result]:
    report = await _said(bench, "sync_rate", "--json", "--wallets", bench.size(20_000, 500), "--rounds", bench.rounds)
    names = {OURS: "pages", ONE_BY_ONE: "one by one", SCRIPT: "script"}
    return [
        Result(
            measure,
            "balances/s",
            {name: [report[place][how]["per_second"]] for name, how in names.items()},
            lower_is_better=False,
            settings={"balances": report["balances"], "rounds": report["rounds"]},
        )
        for place, measure in PLACES.items()
    ]


async def unchanged(bench: Bench) -> list[Result]:
    wallets, passes, interval = bench.size(10_000, 500), 2 if bench.short else 6, bench.seconds(5.0, 1.0)
    report = await _said(
        bench, "sync_unchanged", "--json", "--wallets", wallets, "--passes", passes, "--interval", interval
    )
    figures = {"server": "server_us", "sync": "sync_us", "wal": "wal_bytes"}
    return [
        Result(
            f"evm.sync.unchanged.{name}",
            "bytes/balance" if name == "wal" else "µs/balance",
            {OURS: [report[figure]]},
            settings={"balances": report["balances"], "interval_seconds": interval},
        )
        for name, figure in figures.items()
    ]


async def topups(bench: Bench) -> Result:
    wallets = bench.size(500, 20)
    report = await _said(bench, "evm_topups", "--json", "--wallets", wallets)
    figures = {
        OURS: [report["pipelined"]["median_in_full_blocks"]],
        ONE_BY_ONE: [report["one_by_one"]["per_block"]],
    }
    settings = {"wallets": wallets, "block_seconds": 1}
    return Result("evm.topups", "payments/block", figures, lower_is_better=False, settings=settings)


async def memory(bench: Bench) -> Result:
    wallets, balances = bench.size(1_000_000, 1_000), bench.size(100_000, 1_000)
    report = await _said(bench, "sync_memory", "--json", "--wallets", wallets, "--balances", balances)
    settings = {"wallets": wallets, "balances_read": balances}
    return Result("evm.sync.memory", "MB", {OURS: [report["peak_mb"]]}, settings=settings)


async def _said(bench: Bench, module: str, *arguments: object) -> Any:
    """The one JSON object that a module prints."""
    argv = [sys.executable, "-m", f"bench.{module}", *map(str, arguments)]
    async with children.child(argv, module, cwd=ROOT, env=dict(os.environ)) as running:
        said = await running.next_line(WITHIN)
        await running.ended(children.STOPPED_WITHIN)
    bench.advance(module)
    return said
