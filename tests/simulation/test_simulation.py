"""The workers' own code under seeded faults, a short fixed set of runs; ``make simulation`` for as many as wanted."""

import asyncio
from collections.abc import Sequence
from typing import Any
from unittest import mock

import pytest

from pipeline.payments.broadcast import send_bytes
from pipeline.payments.send.signatures import Answered, Signable, Signatures
from tests.simulation.database import Database
from tests.simulation.fault_plan import Decision
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
    for _ in range(5):
        run(4, simulated)  # until plans are kept: the database's clock passes by what is evaluated as one is made
    first, second = (run(4, simulated) for _ in range(2))
    assert first.decisions
    assert (first.decisions, first.happened, first.died_at) == (second.decisions, second.happened, second.died_at)
    assert (first.steps, first.payments) == (second.steps, second.payments)
    # Each look at the database's clock moves it on by 1 µs, and how often a statement looks depends on its plan, which
    # follows the sizes that the runs before have left: 1 to 3 µs from one run to another.
    assert first.seconds == pytest.approx(second.seconds, abs=0.001)


def test_only_what_was_decided_befalls_a_run(simulated: Database) -> None:
    decisions = [Decision("step", 500, "kill", 1.0), Decision("storm", 7.0, "fork", dice=1)]
    result = run(4, simulated, decisions=decisions)
    assert result.verdict == []
    assert result.happened == {"kill": 1, "fork": 1}
    assert sorted(map(str, result.decisions)) == sorted(map(str, decisions))


class TestItFinds:
    """Faults of the kind that lost other people's money, put into the code: a run that dies there must tell."""

    def test_bytes_that_are_sent_and_called_never_signed(self, simulated: Database) -> None:
        """The one thing that the protocol believes a signer."""
        result, died = self.die_after_sending(simulated, deny=True)
        assert died
        assert any("is unrecorded" in line for line in result.verdict)

    def test_bytes_that_are_sent_before_they_are_kept_are_kept_by_who_comes_next(self, simulated: Database) -> None:
        """A node has them, the database has only asked for them: whoever asks again gets the same."""
        result, died = self.die_after_sending(simulated, deny=False)
        assert died
        assert result.verdict == []

    @staticmethod
    def die_after_sending(simulated: Database, *, deny: bool) -> tuple[Any, list[Any]]:
        obtain = Signatures.obtain
        died: list[Any] = []

        async def send_first(signatures: Signatures, batch: Sequence[Signable]) -> list[Answered | Exception]:
            if not died:
                network = signatures._network
                for one in batch:
                    told = [request.to_signer(network.family, network.id) for request in one.requests]
                    for request, answer in zip(one.requests, await signatures._signer.sign(told), strict=True):
                        signed = signatures._checked(request, answer)  # type: ignore[arg-type]
                        await send_bytes(signatures._provider, signed)  # type: ignore[arg-type]
                        if deny:
                            await signatures.requests.refuse(request, "never signed", reject=False, job=one.job)
                died.append(JOINTS.process)
                JOINTS.simulation.kill(JOINTS.process)
                await asyncio.sleep(0)
            return await obtain(signatures, batch)

        with mock.patch.object(Signatures, "obtain", send_first):
            return run(4, simulated, decisions=QUIET), died
