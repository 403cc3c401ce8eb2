"""Doctor's questions about payments: which take too long, who cannot pay, where the records contradict each other."""

from collections.abc import Iterator

from pipeline.admin.checks.check import Check, Examination, Trouble
from pipeline.admin.checks.findings import Level
from pipeline.admin.errors import ActionError
from pipeline.admin.policy import treasury_of
from pipeline.alerts.rules import PAYMENTS_OUT
from pipeline.log import span


def _treasury(examination: Examination) -> Iterator[Trouble]:
    """Tokens sent there would go round in circles, or to somebody who is a customer."""
    for chain in examination.active_chains():
        name = chain["name"]
        try:
            pinned = treasury_of(examination.settings, chain)
        except ActionError:
            pinned = None  # said by check_policy
        treasuries = {address for address in (pinned, chain["treasury_address"]) if address}
        if chain["gas_address"] in treasuries:
            yield Trouble(
                f"{name}: the treasury is the gas wallet {chain['gas_address']}: tokens would be paid to it",
                cure=f"give {name} a treasury of its own",
            )
        for row in examination.rows("money_treasury", chain_id=chain["id"], addresses=sorted(treasuries)):
            yield Trouble(
                f"{name}: the treasury {row['address']} is a customer's wallet",
                cure=f"give {name} a treasury of its own; until then: flagpost chains disable {name}",
                ids=[str(row["id"])],
            )


def _cursors(examination: Examination) -> Iterator[Trouble]:
    for row in examination.rows("chains_cursors"):
        name = row["chain"]
        if row["beyond"]:
            yield Trouble(
                f"{name}: final blocks are recorded as read up to {row['block_number']} of {row['block_time']}, which "
                "is in the future: nothing is settled, and payments would be called expired too early",
                cure="flagpost config set paused true; find out who wrote chain_cursors, and delete the row",
                ids=row["ids"],
            )
        else:
            yield Trouble(
                f"{name}: payments are out, and final blocks are read up to {row['block_number']}, "
                f"no further for {span(row['standing'])}",
                cure="start confirmations; see that a node answers with final blocks",
                ids=row["ids"],
            )


CHECKS = (
    Check(
        "money.out",
        right="no payment is out for longer than it can be",
        statement="money_out",
        says=PAYMENTS_OUT.says,
        cure="start confirmations; see sql/inspect/money_in_flight.sql, and the node's answers in last_result",
    ),
    Check(
        "money.unsent",
        right="no payment waits for an hour to be sent",
        statement="money_unsent",
        says="{chain}: {payments} payments were decided {since} ago and are not on their way; one waits for: {reason}",
        cure="see: flagpost jobs list --status pending",
        level=Level.WARN,
    ),
    Check(
        "money.void_nonces",
        right="no reserved nonce is left without a transaction",
        statement="money_void_nonces",
        says="{chain}: {nonces} nonces of {sender} have had no transaction for {since}; later payments wait for them",
        cure="start gas-topup and consolidation, which fill them with self-transfers; {sender} needs coins for the fee",
    ),
    Check(
        "money.replacements",
        right="no payment waits to be replaced with a higher fee",
        statement="money_replacements",
        says="{chain}: {payments} payments have waited {since} to be replaced with a higher fee; one is of {sender}",
        cure="start gas-topup and consolidation; their logs say what keeps them from signing",
    ),
    Check(
        "money.contradictions",
        right="the records of payments agree",
        statement="money_contradictions",
        says="{chain}: {payments} payments are {what}: {examples}",
        cure="flagpost config set paused true; compare them with the chain; find who wrote without triggers",
    ),
    Check(
        "money.uncounted",
        right="every top-up is counted in the budgets",
        statement="money_uncounted",
        says="{chain}: {topups} top-ups were asked for in the hour of {hour}, and {counted} are counted: "
        "more can be sent than is allowed",
        cure="find who wrote transfers while triggers did not fire; lower {chain}.gas_max_per_day for a day",
    ),
    Check(
        "money.budgets",
        right="budgets leave gas to send",
        statement="money_budgets",
        says="{chain}: {budget} {what} ({spent} of {most} {coin} are spent); {wallets} wallets want gas",
        cure="wait (a day is the last 24 hours), or: flagpost config set {chain}.{budget} '… {coin}'",
    ),
    Check(
        "money.treasury",
        right="no treasury is a customer's wallet or a gas wallet",
        ask=_treasury,
        cure="set FLAGPOST_TREASURY_NETWORK",
    ),
    Check(
        "money.cursors",
        right="final blocks are read, and none from the future",
        ask=_cursors,
        cure="start confirmations",
    ),
    Check(
        "money.switched_off",
        right="nothing is left on what is switched off",
        statement="chains_switched_off",
        says="{text}",
        cure="payments are followed to their end; tokens stay until it is switched on again",
        level=Level.WARN,
    ),
)
