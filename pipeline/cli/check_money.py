"""Doctor's questions about payments: what is out for too long, who cannot pay, what the records contradict."""

from collections.abc import Iterator

from pipeline.cli.checks import Check, Examination, Trouble
from pipeline.cli.output import span


def _senders(examination: Examination) -> Iterator[Trouble]:
    for row in examination.rows("senders"):
        who = f"{row['chain']}: {row['sender']}"
        if row["held"]:
            yield Trouble(
                f"{who} has been frozen for {span(row['since'])} and pays nothing: {row['reason']}",
                cure=f"find out who has its key; if it is explained: SELECT release_sender('{row['chain']}', "
                f"'{row['sender']}')",
                ids=row["ids"],
            )
        else:
            yield Trouble(
                f"{who} has been reconciled for {span(row['since'])} and pays nothing meanwhile: {row['reason']}",
                cure="see that confirmations runs and has a node with all blocks: sql/inspect/nonces.sql",
                ids=row["ids"],
            )


CHECKS = (
    Check(
        "money.senders",
        right="every sender may pay",
        ask=_senders,
        cure="explain what it did, then: SELECT release_sender('CHAIN', 'ADDRESS')",
    ),
)
