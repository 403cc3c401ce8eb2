"""Doctor's questions about wallets and their balances: is each read, and does each flag say what its balances say.

Where wallets are compared one by one, the newest 20,000 are; with ``--full`` all of them. The sweep compares all of
them, a part each time, and mends what it finds.
"""

from collections.abc import Callable, Iterator

from pipeline.admin.checks.check import Check, Examination, Trouble
from pipeline.admin.checks.findings import Level
from pipeline.alerts.rules import BALANCES_UNREAD

_MENDED = "start sweep, which mends it; then find what writes rows while triggers do not fire (replication, bulk loads)"


def _compared(kind: str, says: str) -> Callable[[Examination], Iterator[Trouble]]:
    """One kind of what comparing wallets with their balances finds: all kinds are found in one pass."""

    def ask(examination: Examination) -> Iterator[Trouble]:
        for row in examination.rows_once("wallets_compared"):
            if row["kind"] == kind:
                text = says.format(wallets=row["wallets"], examples=", ".join(row["examples"]))
                yield Trouble(text, ids=[str(one) for one in row["ids"]])

    return ask


CHECKS = (
    Check(
        "wallets.balances",
        right="every wallet has a balance of each asset",
        statement="wallets_without_balances",
        says="{chain}: {wallets} wallets have no {symbol} balance and are never read: {examples}",
        cure=_MENDED,
    ),
    Check(
        "wallets.flags",
        right="every balance that calls for a flag has raised it",
        ask=_compared("flags", "{wallets} wallets have balances that call for a flag that is not raised: {examples}"),
        cure=_MENDED,
    ),
    Check(
        "wallets.units",
        right="every balance is in the unit of its asset",
        ask=_compared("units", "{wallets} wallets have balances in another unit than their asset's: {examples}"),
        cure=_MENDED,
    ),
    Check(
        "wallets.flag_times",
        right="every flag has the time since when it is raised",
        statement="wallets_flag_times",
        says="{wallets} flags have no time since when they are raised, and count as old as their wallet: {examples}",
        cure=_MENDED,
        level=Level.WARN,
    ),
    Check(
        "wallets.unread",
        right="every balance is read at its interval",
        statement="wallets_unread",
        says=BALANCES_UNREAD.says,
        cure="start sync, or another one beside it; see that a node of {chain} answers",
    ),
    Check(
        "wallets.schedule",
        right="every balance is due within its interval",
        statement="wallets_beyond",
        says="{chain}: {balances} {symbol} balances are not due until {latest}, and not read before",
        cure="start sync, which makes them due: a clock was wrong, or somebody wrote the time",
    ),
    Check(
        "wallets.locks",
        right="every lock of the sync ends soon",
        statement="wallets_locked",
        says="{balances} balances are locked until {latest} by {locked_by}, and not read before",
        cure="start sync, which unlocks them: a clock was wrong, or somebody wrote the time",
    ),
)
