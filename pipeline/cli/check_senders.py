"""Doctor's question about senders on numbered chains (EVM): does one of them stand still, and what is its way out."""

from datetime import UTC, datetime

from pipeline.cli.findings import Findings
from pipeline.cli.output import span
from pipeline.cli.session import Connection, Row
from pipeline.db.statements import statement


def check_senders(found: Findings, connection: Connection) -> None:
    """Each sender that is held, stuck, or looked into without end fails."""
    rows = connection.execute(statement("doctor/senders")).fetchall()
    for row in rows:
        _tell(found, row)
    if not rows:
        found.ok("senders", "every sender may pay")


def _tell(found: Findings, row: Row) -> None:
    who, release = f"{row['chain']}: {row['sender']}", f"SELECT release_sender('{row['chain']}', '{row['sender']}')"
    if row["held"] is not None:
        found.fail(
            "senders.held",
            f"{who} has been held for {_since(row['held_since'])} and pays nothing: {row['held']}",
            f"find out who has its key; if it is explained: {release}",
        )
    if row["stuck"] is not None:
        found.fail(
            "senders.stuck",
            f"{who} has stood still for {_since(row['stuck_since'])}: {row['stuck']}",
            f"do what it says; what nobody can explain: {release}" if row["unexplained"] else "do what it says",
        )
    elif row["looked_into_since"] is not None:
        found.fail(
            "senders.unknown",
            f"{who} has made transactions that are not recorded, looked into for {_since(row['looked_into_since'])}: "
            "it pays nothing meanwhile",
            f"see that confirmations runs and has a node with all blocks; what nobody can explain: {release}",
        )


def _since(moment: datetime) -> str:
    return span(datetime.now(UTC) - moment)
