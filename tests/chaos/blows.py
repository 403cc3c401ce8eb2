"""What can go wrong: the kinds of blows, how often each is drawn, and with which arguments.

A blow is data. Everything in it is drawn before the run from its seed, so that it can be printed, replayed, left out.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import Any

from pipeline.local.faults import evm_fault, tron_fault
from pipeline.payments.crashpoints import NONCES_ONLY, CrashPoint

CREW = {"sync": 2, "gas-topup": 2, "consolidation": 2, "confirmations": 2, "sweep": 2}
"""Processes of each kind. The first of each is on one host, the second on another."""
WALLETS = int(os.environ.get("FLAGPOST_CHAOS_WALLETS", "10"))
"""Customers' wallets on each chain."""
LEASE_SECONDS = 5.0
"""A frozen process wakes up after its lease."""

Arguments = dict[str, Any]


class Kind(StrEnum):
    """The value is what the figures are counted under."""

    KILL = "process: SIGKILL"
    CRASH = "process: SIGKILL at a crash point"
    FREEZE = "process: SIGSTOP past its lease"
    TERM = "process: SIGTERM in the middle"
    TERM_TWICE = "process: SIGTERM twice"

    RESTART = "postgres: immediate restart"
    BACKEND_CRASH = "postgres: backend killed, server recovers"
    TERMINATE = "postgres: sessions terminated"
    LEADERS = "postgres: leaders' leases ended early (two act at once)"
    CANCEL = "postgres: statements cancelled"
    FULL = "postgres: connection limit reached"
    LOCK = "postgres: rows locked by somebody"
    HALF_OPEN = "network: LISTEN half-open"
    STALL = "network: every session half-open"
    POOLER = "pooler: PgBouncer killed"
    CUT = "network: a host cut off"
    SLOW = "network: a host behind a slow link"

    TRON_NODE = "TRON node"
    TRON_AWAY = "TRON: every node away"
    TRON_STALE = "TRON: a node goes stale"
    TRON_FORK = "TRON: fork"
    TRON_DROP = "TRON: pending transactions lost"
    TRON_CLOCK = "TRON: no block past every expiration"
    EVM_NODE = "EVM node"
    EVM_AWAY = "EVM: every node away"
    EVM_FORK = "EVM: fork"
    EVM_DROP = "EVM: pending transactions lost"
    EVM_CLOCK = "EVM: no block"
    EVM_EXPENSIVE = "EVM: gas too dear for what is pending"

    FLIP = "operator: flips flags"
    RETRY = "operator: retry_failed_jobs"
    CANCEL_JOB = "operator: cancel_job"
    CLEANUP = "operator: cleanup_stuck_jobs"
    BY_HAND = "operator: inserts a job by hand"
    PAUSE = "operator: pauses the system"
    PAUSE_WORKER = "operator: pauses a process"
    FORGET_WORKER = "operator: deletes rows of worker_registry"
    UNLOCK = "operator: unlocks balances that are being read"
    SWITCH_CHAIN = "operator: switches a chain off and on"

    DEPOSIT = "deposit"

    @property
    def is_operator(self) -> bool:
        """A person's move: no fault of anything, and counted apart."""
        return self.value.startswith("operator:")


@dataclass(frozen=True, slots=True)
class Blow:
    """One thing that happens."""

    at: float
    """Seconds from the start of the storm."""
    kind: Kind
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What it is counted under."""
        fault = self.arguments.get("fault")
        return f"{self.kind}: {str(fault).replace('_', ' ')}" if fault else str(self.kind)

    def __str__(self) -> str:
        said = ", ".join(f"{name} {value}" for name, value in self.arguments.items())
        return f"{self.at:6.2f} s  {self.kind}{f' ({said})' if said else ''}"

    def to_json(self) -> dict[str, Any]:
        return {"at": self.at, "kind": self.kind.name, "arguments": dict(self.arguments)}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "Blow":
        """Raises KeyError for an unknown kind."""
        return cls(float(body["at"]), Kind[body["kind"]], dict(body["arguments"]))


def _process(random: Random, *kinds: str) -> Arguments:
    kind = random.choice(kinds or tuple(CREW))
    return {"process": kind, "number": random.randrange(CREW[kind])}


def _nothing(random: Random) -> Arguments:
    return {}


def _seconds(shortest: float, longest: float) -> Callable[[Random], Arguments]:
    return lambda random: {"seconds": round(random.uniform(shortest, longest), 1)}


def _kill(random: Random) -> Arguments:
    return _process(random)


def _crash(random: Random) -> Arguments:
    """The process is killed, and its next life ends at the point."""
    point = random.choice(list(CrashPoint))
    first = point.partition(".")[0]
    if first in ("want", "account", "void", "rebroadcast", "include", "reorg", "settle", "expire"):
        kinds: tuple[str, ...] = ("confirmations",)
    else:
        kinds = ("gas-topup",) if point in NONCES_ONLY else ("gas-topup", "consolidation")
    return _process(random, *kinds) | {"point": str(point), "passes": random.choice([1, 1, 1, 2])}


def _freeze(random: Random) -> Arguments:
    return _process(random) | {"seconds": round(random.uniform(0.5, 1.6) * LEASE_SECONDS, 1)}


def _terminate(random: Random) -> Arguments:
    """``like`` is a pattern over what follows ``flagpost`` in application_name."""
    like = random.choice(["%", "%", "% listener", *(f"{kind}%" for kind in CREW)])
    return {"like": like, "share": random.choice([0.2, 0.5, 1.0])}


def _lock(random: Random) -> Arguments:
    table = random.choice(["wallets", "wallet_balances", "job_logs", "transfers", "chain_transactions"])
    return {"table": table, "seconds": round(random.uniform(0.3, 2.0), 1)}


def _host(random: Random) -> Arguments:
    return {"host": random.choice(["a", "b"]), "seconds": round(random.uniform(0.5, 8.0), 1)}


def _tron_fork(random: Random) -> Arguments:
    return {"depth": random.randint(1, 3), "drop": random.random() < 0.5}


def _flip(random: Random) -> Arguments:
    flag = random.choice(["needs_gas", "needs_consolidation"])
    return {
        "wallets": sorted(random.sample(range(WALLETS), random.randint(1, 4))),
        "flag": flag,
        "to": random.random() < 0.6,
    }


def _by_hand(random: Random) -> Arguments:
    return {"job_type": random.choice(["gas-topup", "consolidation", "sync"]), "wallet": random.randrange(WALLETS)}


def _deposit(random: Random) -> Arguments:
    """Always worth a consolidation of its own, so that nothing that is left over may stay."""
    return {"wallet": random.randrange(WALLETS), "tokens": random.randint(201, 900)}


@dataclass(frozen=True, slots=True)
class Draw:
    """How a kind of blow is drawn."""

    weight: float
    arguments: Callable[[Random], Arguments]
    needs: str = ""
    """Part of the stage it happens to (``Layout.parts``); empty: always there."""


CATALOG: Mapping[Kind, Draw] = {
    Kind.KILL: Draw(9, _kill),
    Kind.CRASH: Draw(9, _crash),
    Kind.FREEZE: Draw(3, _freeze),
    Kind.TERM: Draw(3, _kill),
    Kind.TERM_TWICE: Draw(1, _kill),
    Kind.RESTART: Draw(1, _seconds(0.0, 2.0)),
    Kind.BACKEND_CRASH: Draw(1, _nothing),
    Kind.TERMINATE: Draw(7, _terminate),
    Kind.LEADERS: Draw(3, _nothing),
    Kind.CANCEL: Draw(5, _terminate),
    Kind.FULL: Draw(2, _seconds(0.3, 2.0)),
    Kind.LOCK: Draw(4, _lock),
    Kind.HALF_OPEN: Draw(3, _nothing, "proxy"),
    Kind.STALL: Draw(0.5, _nothing, "proxy"),
    Kind.POOLER: Draw(3, _seconds(0.0, 1.0), "pooler"),
    Kind.CUT: Draw(6, _host, "hosts"),
    Kind.SLOW: Draw(4, _host, "hosts"),
    Kind.TRON_NODE: Draw(22, lambda random: tron_fault(random, nodes=(0, 1))),
    Kind.TRON_AWAY: Draw(1, _seconds(0.5, 3.0)),
    Kind.TRON_STALE: Draw(3, _seconds(0.5, 4.0)),
    Kind.TRON_FORK: Draw(6, _tron_fork),
    Kind.TRON_DROP: Draw(4, _nothing),
    Kind.TRON_CLOCK: Draw(1.5, _seconds(0.2, 2.0)),
    Kind.EVM_NODE: Draw(16, evm_fault, "evm"),
    Kind.EVM_AWAY: Draw(1, _seconds(0.5, 3.0), "evm"),
    Kind.EVM_FORK: Draw(5, lambda random: {"drop": random.random() < 0.5}, "evm"),
    Kind.EVM_DROP: Draw(3, _nothing, "evm"),
    Kind.EVM_CLOCK: Draw(1.5, _seconds(0.5, 3.0), "evm"),
    Kind.EVM_EXPENSIVE: Draw(2, _seconds(0.5, 3.0), "evm"),
    Kind.FLIP: Draw(6, _flip),
    Kind.RETRY: Draw(3, _nothing),
    Kind.CANCEL_JOB: Draw(4, _nothing),
    Kind.CLEANUP: Draw(3, lambda random: {"minutes": random.choice([0, 0, 1])}),
    Kind.BY_HAND: Draw(4, _by_hand),
    Kind.PAUSE: Draw(1.5, _seconds(0.3, 2.0)),
    Kind.PAUSE_WORKER: Draw(2, lambda random: _process(random) | {"seconds": round(random.uniform(0.3, 3.0), 1)}),
    Kind.FORGET_WORKER: Draw(1, lambda random: {"share": random.choice([0.2, 1.0])}),
    Kind.UNLOCK: Draw(2, _nothing),
    Kind.SWITCH_CHAIN: Draw(
        1, lambda random: {"evm": random.random() < 0.5, "seconds": round(random.uniform(0.3, 2.0), 1)}
    ),
    Kind.DEPOSIT: Draw(10, _deposit),
}
