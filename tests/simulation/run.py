"""One run: set-up, storm, calm, judgement."""

import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from loguru import logger
from psycopg.types.json import Jsonb

from pipeline.chains.values import Family
from pipeline.keys.derivation import FIRST_USER_INDEX, GAS_INDEX, TREASURY_INDEX
from pipeline.keys.mnemonic import to_seed
from pipeline.keys.private import PrivateBranch
from pipeline.settings import Settings
from tests.policy import policy, write_policy
from tests.seed import USDT
from tests.simulation import node, seams, storm
from tests.simulation.clock import Clock
from tests.simulation.database import Database
from tests.simulation.evm import EvmNetwork
from tests.simulation.fault_plan import Decision, FaultPlan, Menu
from tests.simulation.judge import Judge
from tests.simulation.network import Network
from tests.simulation.process import Place, bury
from tests.simulation.simulation import MAKERS, Simulation
from tests.simulation.storm import Storm
from tests.simulation.tron import TronNetwork

MNEMONIC = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about"
"""The mnemonic of the test vectors; its keys are everybody's."""
CONFIG = {
    "queue.quiet_seconds": 30,
    "queue.backoff_base_seconds": 1,
    "queue.backoff_cap_seconds": 10,
    "sweep.interval_seconds": 30,
    "cleanup.interval_seconds": 120,
    "sync.idle_seconds": 30,
}
SETTLED_WITHIN = 1800.0
"""Seconds of the run's time after the storm."""
NETWORKS: dict[str, Callable[[Clock, random.Random], Network]] = {"tron": TronNetwork, "bsc": EvmNetwork}
TWICE = ("gas-topup", "consolidation", "confirmations")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a seed stands for."""

    seed: int
    wallets: int
    storm_seconds: float
    menus: dict[str, Menu]
    storm: tuple[Decision, ...]
    """By the clock."""
    processes: tuple[str, ...]
    gas_policy: str

    @classmethod
    def of(cls, seed: int) -> "Plan":
        dice = random.Random(f"{seed} plan")
        harm = dice.choice([0.3, 1.0, 1.0, 2.5])
        seconds = dice.choice([20.0, 30.0, 45.0, 70.0])

        def rate(usual: float) -> float:
            return usual * harm if dice.random() < 0.75 else 0.0

        menus = {
            "step": Menu(rate(1 / 700), {"kill": 8, "freeze": 2, "stop": 1, "cut": 1}),
            "ask": Menu(rate(1 / 700), {"lost before": 1}),
            "answer": Menu(rate(1 / 400), {"lost after": 1}),
            "node": Menu(rate(1 / 40), node.DISHES),
            "notify": Menu(rate(1 / 20), {"lost notify": 2, "late notify": 1}),
        }
        processes = [*MAKERS] + [kind for kind in TWICE if dice.random() < 0.7]
        return cls(
            seed,
            dice.choice([1, 1, 2, 3]),
            seconds,
            menus,
            tuple(storm.plan(seed, seconds, round(4 * harm))),
            tuple(processes),
            dice.choice(["threshold", "threshold", "on_demand"]),
        )


@dataclass(slots=True)
class Result:
    """What came of a run."""

    seed: int
    network: str
    verdict: list[str]
    decisions: list[Decision]
    happened: Counter[str]
    died_at: Counter[Place]
    payments: int
    doubles: int
    missing: int
    steps: int
    seconds: float
    """Of the run's own time."""
    real_seconds: float
    picture: Any = None
    """The records, of a run that failed."""

    @property
    def failed(self) -> bool:
        return bool(self.verdict)


def run(
    seed: int,
    database: Database,
    *,
    network: str = "tron",
    decisions: Sequence[Decision] | None = None,
    told: Callable[[str], None] | None = None,
) -> Result:
    """Run ``seed`` on a network of ``NETWORKS`` to its verdict; with ``decisions`` exactly these befall it. ``told``
    gets the story, line by line."""
    began = time.perf_counter()
    plan, clock = Plan.of(seed), Clock()
    random.seed(seed)
    chain = NETWORKS[network](clock, random.Random(f"{seed} network"))
    database.begin(clock)
    given = None if decisions is None else [one for one in decisions if one.place != "storm"]
    by_the_clock = plan.storm if decisions is None else [one for one in decisions if one.place == "storm"]
    fault_plan = FaultPlan(seed, plan.menus, given)
    settings = Settings(database_url=database.dsn, home=database.home)
    simulation = Simulation(seed, clock, database, chain, fault_plan, settings)
    seams.join(simulation)
    with _story(simulation, told):
        gas, treasury, wallets = _found(plan, database, chain)
        weather = Storm(simulation, wallets)
        weather.befall(by_the_clock)
        for kind in plan.processes:
            simulation.start(kind)
        judge = Judge(simulation, gas, treasury, wallets)
        try:
            simulation.run_until(plan.storm_seconds)
            weather.end()
            _one_of_each(simulation)
            simulation.run_until(
                clock.now + 2 * chain.block_seconds
            )  # deposits of a chain that stood still are in blocks now
            simulation.run_until(clock.now + SETTLED_WITHIN, judge.is_settled)
            chain.settle()
            verdict = judge.verdict()
        except AssertionError as error:
            verdict = [str(error)]
        result = Result(
            seed,
            network,
            verdict,
            fault_plan.taken,
            simulation.happened,
            simulation.died_at,
            judge.payments(),
            judge.doubles(),
            judge.missing(),
            simulation.steps,
            clock.now,
            time.perf_counter() - began,
            picture=judge.picture() if verdict else None,
        )
    _bury(simulation)
    result.real_seconds = time.perf_counter() - began
    return result


def _one_of_each(simulation: Simulation) -> None:
    """The second ones go; each kind that has nobody left gets somebody."""
    for kind in MAKERS:
        running = simulation.of_kind(kind)
        for process in running[1:]:
            simulation.remove(process)
        if not running:
            simulation.start(kind)


def _bury(simulation: Simulation) -> None:
    dead = simulation.end()
    simulation.database.let_go()
    bury(dead)


@cache
def _address(family: Family, index: int) -> str:
    return PrivateBranch.from_seed(to_seed(MNEMONIC), family).public.address(index)


def _found(plan: Plan, database: Database, network: Network) -> tuple[str, str, list[str]]:
    """Gas wallet, treasury and wallets, on the chain and in the database."""
    family = Family(network.family)
    gas, treasury = _address(family, GAS_INDEX), _address(family, TREASURY_INDEX)
    wallets = [_address(family, FIRST_USER_INDEX + place) for place in range(plan.wallets)]
    dice = random.Random(f"{plan.seed} deposits")
    network.fund(gas, network.gas_funds)
    for wallet in wallets:
        network.deposit(wallet, dice.randint(150, 900) * USDT)
    network.settle()
    execute = database.plain.execute
    columns = network.rows() | {"gas_policy": plan.gas_policy, "gas_cooldown": "0", "sync_interval": "20 seconds"}
    names, places = ", ".join(columns), ", ".join(["%s"] * len(columns))
    (chain,) = execute(
        f"INSERT INTO chains ({names}) VALUES ({places}) RETURNING id",  # noqa: S608
        list(columns.values()),
    ).fetchone()  # type: ignore[arg-type, misc]
    for asset, flag, least in ((network.coin, None, None), (network.token, 200 * USDT, 100 * USDT)):
        execute(
            "INSERT INTO asset_on_chain (chain_id, symbol, contract_address, decimals, consolidate_flag_above, "
            "consolidate_execute_min) VALUES (%s, %s, %s, %s, %s, %s)",
            [chain, asset.symbol, asset.contract, asset.decimals, flag, least],
        )
    for key, value in CONFIG.items():
        execute("INSERT INTO system_config (key, value) VALUES (%s, %s)", [key, Jsonb(value)])
    for place, wallet in enumerate(wallets):
        execute(
            "INSERT INTO wallets (chain_id, address, derivation_index) VALUES (%s, %s, %s)",
            [chain, wallet, FIRST_USER_INDEX + place],
        )
    database.transaction_ended()
    network_id = str(columns["network_id"])
    write_policy(database.home, policy(family, network_id, network.token.contract or ""))
    return gas, treasury, wallets


@contextlib.contextmanager
def _story(simulation: Simulation, told: Callable[[str], None] | None) -> Iterator[None]:
    """The workers' own log with the run's time and names. What is critical there is a fault of the run."""

    def line(said: str) -> None:
        if told is not None:
            told(f"{simulation.clock.now:8.2f} {said}")

    def log(message: Any) -> None:
        record = message.record
        who = simulation.current.name if simulation.current is not None else "-"
        if record["level"].name == "CRITICAL":
            simulation.faults.append(f"alarm: {record['message']}")
        line(f"{who:<16} {record['level'].name:<8} {record['message']}")

    logger.remove()
    sink = logger.add(log, level="DEBUG" if told is not None else "CRITICAL", format="{message}")
    if told is not None:
        simulation.trace = line
    try:
        yield
    finally:
        logger.remove(sink)
