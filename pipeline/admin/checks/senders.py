"""Doctor's checks of senders: which of them pays nothing, and what lets it pay again."""

from collections.abc import Iterator
from datetime import UTC, datetime

from pipeline.admin.checks.check import Check, Examination, Trouble
from pipeline.admin.session import Row
from pipeline.log import span


def _frozen(examination: Examination) -> Iterator[Trouble]:
    for row in examination.rows_once("senders"):
        if row["frozen"] is not None:
            yield Trouble(
                f"{_who(row)} has been frozen for {_since(row['frozen_since'])} and pays nothing: {row['frozen']}",
                cure=f"find out who has its key; if it is explained: {_release(row)}",
                ids=[row["sender"]],
            )


def _stuck(examination: Examination) -> Iterator[Trouble]:
    for row in examination.rows_once("senders"):
        if row["stuck"] is not None:
            yield Trouble(
                f"{_who(row)} has been stuck for {_since(row['stuck_since'])}: {row['stuck']}",
                cure="do what it says" + (f"; what nobody can explain: {_release(row)}" if row["unexplained"] else ""),
                ids=[row["sender"]],
            )


def _unknown(examination: Examination) -> Iterator[Trouble]:
    for row in examination.rows_once("senders"):
        if row["stuck"] is None and row["looked_into_since"] is not None:
            yield Trouble(
                f"{_who(row)} has made transactions that are missing from the database, being reconciled for "
                f"{_since(row['looked_into_since'])}: it pays nothing meanwhile",
                cure="see that confirmations runs and has a node with all blocks; what nobody can explain: "
                f"{_release(row)}",
                ids=[row["sender"]],
            )


CHECKS = (
    Check(
        "senders.frozen",
        right="no sender is frozen",
        ask=_frozen,
        cure="find out who has its key; flagpost senders release CHAIN SENDER",
    ),
    Check("senders.stuck", right="no sender is stuck", ask=_stuck, cure="do what it says"),
    Check(
        "senders.unknown",
        right="unrecorded transactions of senders are reconciled within the hour",
        ask=_unknown,
        cure="start confirmations, with a node that has all blocks",
    ),
)


def _who(row: Row) -> str:
    return f"{row['chain']}: {row['sender']}"


def _release(row: Row) -> str:
    return f"flagpost senders release {row['chain']} {row['sender']}"


def _since(moment: datetime) -> str:
    return span(datetime.now(UTC) - moment)
