"""The allowed moves in code are the rows of state_transitions."""

import pytest

from pipeline.db.pool import Connection
from pipeline.payments.states import ATTEMPT_MOVES, SETTLED, TRANSFER_MOVES, AttemptState, TransferState


@pytest.mark.parametrize(("subject", "moves"), [("transfer", TRANSFER_MOVES), ("chain_transaction", ATTEMPT_MOVES)])
async def test_code_and_database_know_the_same_moves(
    connection: Connection, subject: str, moves: frozenset[tuple[str, str]]
) -> None:
    rows = await connection.execute(
        "SELECT from_state, to_state FROM state_transitions WHERE subject = %s AND from_state <> '(new)'", [subject]
    )
    assert {(start, end) for start, end in await rows.fetchall()} == {(str(start), str(end)) for start, end in moves}


@pytest.mark.parametrize(("table", "states"), [("transfers", TransferState), ("chain_transactions", AttemptState)])
async def test_code_and_database_know_the_same_states(
    connection: Connection, table: str, states: type[TransferState] | type[AttemptState]
) -> None:
    rows = await connection.execute(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = %s::regclass AND conname LIKE %s",
        [table, "%state_check"],
    )
    (definition,) = await rows.fetchone() or ("",)
    assert set(definition.split("'")[1::2]) == {str(state) for state in states}


def test_settled_states_are_the_ends() -> None:
    assert {start for start, _ in TRANSFER_MOVES}.isdisjoint(SETTLED)
    assert {state for state in TransferState if state not in {start for start, _ in TRANSFER_MOVES}} == SETTLED
