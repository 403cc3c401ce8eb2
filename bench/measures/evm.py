"""Balances read from a local anvil and top-ups paid to it, beside doing them one by one (bench/evm_balances.py,
bench/evm_topups.py)."""

import importlib.util
import os
import sys
from typing import Any

from bench import children
from bench.bench import Bench
from bench.contestants import OURS, ROOT
from bench.result import Result

ONE_BY_ONE = "one by one"
WEB3 = "web3, one by one"
WITHIN = 300.0
ANVIL = ROOT / "tests" / "clients" / "node_modules" / "@foundry-rs" / "anvil-linux-amd64" / "bin" / "anvil"
"""The node of the tests, whose worlds are used here."""


async def measure(bench: Bench) -> list[Result]:
    """Balances a second; payments in a block and a second."""
    if not ANVIL.exists() or importlib.util.find_spec("pytest") is None:
        bench.left_out["evm"] = "what the tests need is missing (anvil of tests/clients, pytest)"
        return []
    wallets, topups = bench.size(20_000, 500), bench.size(500, 20)
    bench.expect(2 * bench.rounds)
    read, paid = [], []
    for _ in range(bench.rounds):
        read.append(await _said(bench, "evm_balances", "--wallets", wallets))
        paid.append(await _said(bench, "evm_topups", "--wallets", topups, "--json"))
    return [
        Result(
            "evm.balances",
            "balances/s",
            {
                OURS: [one["creation_per_second"] for one in read],
                f"{OURS}, Multicall3": [one["multicall3_per_second"] for one in read],
                ONE_BY_ONE: [one["one_by_one_per_second"] for one in read],
                WEB3: [one["web3_one_by_one_per_second"] for one in read],
            },
            lower_is_better=False,
            settings={"balances": 2 * wallets},
        ),
        Result(
            "evm.topups",
            "payments/block",
            {
                OURS: [one["pipelined"]["median_in_full_blocks"] for one in paid],
                ONE_BY_ONE: [one["one_by_one"]["per_block"] for one in paid],
            },
            lower_is_better=False,
            settings={"wallets": topups, "block_seconds": 1},
        ),
    ]


async def _said(bench: Bench, module: str, *arguments: object) -> Any:
    """The one JSON object that a module prints."""
    argv = [sys.executable, "-m", f"bench.{module}", *map(str, arguments)]
    said = await children.run(argv, module, "report", WITHIN, cwd=ROOT, env=dict(os.environ))
    bench.advance(module)
    return said
