"""The gate that every answer passes: of an odd one come a right value or an error of ours, and nothing else."""

import dataclasses
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

from pipeline.chains.errors import ChainError
from pipeline.chains.rpc.wire import Reply
from pipeline.chains.values import BlockContent, BroadcastOutcome, BroadcastReply, TransactionResult
from tests.chains.odd.odd_values import Mutation, mutations
from tests.chains.odd.recorded import Exchange, Recorder, Replay, Scene

MAX_SECONDS = 2.0
"""Of the processor, for one question: more is a hang."""
MAX_NUMERIC = 10**78
"""Postgres' raw_amount."""
MAX_TEXT = 10_000

Make = Callable[[], Any]
"""A fresh provider over one node, whose clock does not wait."""


@dataclass(slots=True)
class Verdict:
    """What came of all odd answers."""

    cases: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    escapes: list[str] = field(default_factory=list)
    """Cases that ended otherwise than in a value or an error of ours."""
    false_values: list[str] = field(default_factory=list)
    """Cases in which a value was taken that other answers contradict."""

    def note(self, scene: str, exchange: Exchange, mutation: Mutation, outcome: str, why: str) -> None:
        self.cases += 1
        self.outcomes[outcome] += 1
        if outcome in ("escape", "false"):
            place = "/".join(map(str, mutation.path))
            where = f"{exchange.question[:80]} at {place or 'the whole answer'}"
            line = f"{scene}: {where} = {mutation.token[:40]!r}: {why}"
            (self.escapes if outcome == "escape" else self.false_values).append(line)

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {outcome}" for outcome, count in sorted(self.outcomes.items()))
        return f"{self.cases} odd answers: {kinds}"


async def record(scene: Scene, make: Make) -> Scene:
    """Ask once, and keep what was answered. The same answers again have to give the same result."""
    provider = make()
    (node,) = provider._nodes.all
    recorder = node._wire = Recorder(node._wire)
    scene.right = await _outcome(scene, provider)
    scene.exchanges = recorder.exchanges
    await provider.close()
    again = await _asked(scene, make, Replay(scene.exchanges))
    assert _same(again, scene.right), f"{scene.name}: {again!r} is not {scene.right!r}"
    return scene


async def run(scenes: Sequence[Scene], make: Make, sample: int = 1) -> Verdict:
    """Put every odd value into every place of every answer, one at a time. ``sample``: only every n-th case."""
    verdict, others = Verdict(), _hexadecimal(scenes)
    seen: set[str] = set()
    number = 0
    for scene in scenes:
        for index, exchange in enumerate(scene.exchanges):
            if exchange.question in seen and exchange.question == scene.exchanges[0].question:
                continue  # each begins with the comparison of the network
            seen.add(exchange.question)
            for mutation in mutations(exchange.reply.body, others):
                number += 1
                if number % sample:
                    continue
                reply = Reply(exchange.reply.status, mutation.body, {})
                began = time.process_time()
                result = await _asked(scene, make, Replay(scene.exchanges, index, reply))
                outcome, why = _judge(scene, mutation, result, time.process_time() - began)
                verdict.note(scene.name, exchange, mutation, outcome, why)
    return verdict


async def _asked(scene: Scene, make: Make, wire: Replay) -> Any:
    provider = make()
    (node,) = provider._nodes.all
    node._wire = wire
    return await _outcome(scene, provider)


async def _outcome(scene: Scene, provider: Any) -> Any:
    try:
        return await scene.ask(provider)
    except Exception as error:  # whatever it is, it is judged
        return error


def _judge(scene: Scene, mutation: Mutation, result: Any, seconds: float) -> tuple[str, str]:
    if seconds > MAX_SECONDS:
        return "escape", f"it took {seconds:.1f} s"
    if isinstance(result, Exception):
        if not isinstance(result, ChainError):
            return "escape", f"{type(result).__name__}: {result}"[:200]
        if fault := _unsafe(str(result)):
            return "escape", f"its message has {fault}"
        return "error", ""
    if fault := _unsafe(result):
        return "escape", f"its result has {fault}"
    if _same(result, scene.right):
        return "right", ""
    if _proves_nothing(result, scene.right):
        return "unclear", ""
    if mutation.name in scene.checked:
        return "false", f"{result!r} in place of {scene.right!r}"[:400]
    return "other", ""


def _proves_nothing(result: Any, right: Any) -> bool:
    """Whether a result only says less than the right one: nothing, of a transaction that it cannot be read, of a
    broadcast that nobody knows what became of it."""
    if result is None and isinstance(right, TransactionResult):
        return True
    if isinstance(result, BlockContent) and isinstance(right, BlockContent):
        fewer = set(result.transactions) <= set(right.transactions) and len(result.unreadable) > len(right.unreadable)
        return fewer and (result.block, result.parent_id) == (right.block, right.parent_id)
    return isinstance(result, BroadcastReply) and result.outcome is BroadcastOutcome.UNKNOWN


def _unsafe(value: Any) -> str:
    """What of a result cannot be shown, or stored in Postgres; empty if all of it can."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return next(filter(None, (_unsafe(getattr(value, one.name)) for one in dataclasses.fields(value))), "")
    if isinstance(value, str):
        if len(value) > MAX_TEXT:
            return f"text of {len(value)} characters"
        return "" if value.isprintable() else f"text that is not printable: {value!r}"[:200]
    if isinstance(value, bool | None | bytes | datetime | Enum):
        return ""
    if isinstance(value, int):
        return "" if abs(value) < MAX_NUMERIC else f"a number of {value.bit_length()} bits"
    if isinstance(value, Mapping):
        return next(filter(None, map(_unsafe, (*value.keys(), *value.values()))), "")
    if isinstance(value, Sequence | frozenset):
        return next(filter(None, map(_unsafe, value)), "")
    return f"a {type(value).__name__}"


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Exception) or isinstance(other, Exception):
        return type(one) is type(other)
    return bool(one == other)


def _hexadecimal(scenes: Sequence[Scene]) -> dict[int, list[str]]:
    """The hexadecimal values of all answers, by their length."""
    found: dict[int, dict[str, None]] = {}

    def collect(value: Any) -> None:
        if isinstance(value, dict | list):
            for inner in value.values() if isinstance(value, dict) else value:
                collect(inner)
        elif isinstance(value, str) and len(value) in (40, 42, 64, 66):
            found.setdefault(len(value), {})[value] = None

    for scene in scenes:
        for exchange in scene.exchanges:
            collect(json.loads(exchange.reply.body))
    return {length: list(values) for length, values in found.items()}
