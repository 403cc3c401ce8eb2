"""The workers' own code under seeded faults, a short fixed set of runs; ``make simulation`` for as many as wanted."""

import asyncio
from unittest import mock

import pytest

from pipeline.payments.send.sender import Sender, send_bytes
from tests.simulation.database import Database
from tests.simulation.fate import Decision
from tests.simulation.run import NETWORKS, run
from tests.simulation.seams import JOINTS

RUNS = 30
QUIET: tuple[Decision, ...] = ()


@pytest.mark.parametrize("seed", range(RUNS))
def test_every_await_is_a_place_to_die(simulated: Database, seed: int) -> None:
    network = list(NETWORKS)[seed % len(NETWORKS)]
    result = run(seed, simulated, network=network)
    again = f"make simulation SEED={seed} RUNS=1 NETWORK={network}"
    assert result.verdict == [], f"{again}: {[str(decision) for decision in result.decisions]}"


def test_the_same_seed_takes_the_same_steps(simulated: Database) -> None:
    run(4, simulated)  # plans are made
    first, second = (run(4, simulated) for _ in range(2))
    assert first.decisions
    assert (first.decisions, first.happened, first.died_at) == (second.decisions, second.happened, second.died_at)
    assert (first.steps, first.seconds, first.payments) == (second.steps, second.seconds, second.payments)


def test_only_what_was_decided_befalls_a_run(simulated: Database) -> None:
    decisions = [Decision("step", 500, "kill", 1.0), Decision("storm", 7.0, "fork", dice=1)]
    result = run(4, simulated, decisions=decisions)
    assert result.verdict == []
    assert result.happened == {"kill": 1, "fork": 1}
    assert sorted(map(str, result.decisions)) == sorted(map(str, decisions))


class TestItFinds:
    """Faults of the kind that lost other people's money, put into the code: a run that dies there must tell."""

    def test_bytes_that_are_sent_before_they_are_kept(self, simulated: Database) -> None:
        kept = Sender._sign
        died = []

        async def send_first(sender: Sender, *order: object) -> object:
            store = sender.store

            async def record_signed(job: object, transfer_id: int, signed: object) -> int:
                await send_bytes(sender.provider, signed)  # type: ignore[arg-type]
                if not died:
                    died.append(JOINTS.process)
                    JOINTS.simulation.kill(JOINTS.process)
                    await asyncio.sleep(0)
                return await type(store).record_signed(store, job, transfer_id, signed)  # type: ignore[arg-type]

            with mock.patch.object(store, "record_signed", record_signed):
                return await kept(sender, *order)  # type: ignore[arg-type]

        with mock.patch.object(Sender, "_sign", send_first):
            result = run(4, simulated, decisions=QUIET)
        assert died
        assert any("is in no book" in line for line in result.verdict)
