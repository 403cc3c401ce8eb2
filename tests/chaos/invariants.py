"""What must hold once the storm is over and everything has settled: read from the chains first, then from the database.

Each check returns what is wrong in words, empty if nothing is.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.ground import Ground
from tests.chaos.ledger import Landed, Ledger
from tests.chaos.psql import Psql

Row = Mapping[str, Any]


@dataclass(slots=True)
class Verdict:
    """Of one chain, or of the queue."""

    payments: int = 0
    """Successful payments on the chain, gaps included."""
    doubles: list[str] = field(default_factory=list)
    """A second payment where there may be one."""
    losses: list[str] = field(default_factory=list)
    """Money that is not where it should be; jobs that are gone or have no end."""
    wrongs: list[str] = field(default_factory=list)
    """Records that say something else than the chain."""

    @property
    def problems(self) -> list[str]:
        return [*self.doubles, *self.losses, *self.wrongs]


async def judge_chain(ground: Ground, psql: Psql) -> Verdict:
    """Everything about one chain."""
    ledger = await ground.ledger()
    attempts = await psql.ask(
        """
        SELECT a.txid, a.state AS attempt_state, a.fee_paid, t.id AS transfer, t.state, t.kind, t.idempotency_key,
               t.from_address, t.to_address, t.amount, s.contract_address
        FROM chain_transactions a
        JOIN transfers t ON t.bundle_id = a.bundle_id
        JOIN asset_on_chain s ON s.id = t.asset_on_chain_id
        WHERE a.chain_id = %s
        """,
        ground.chain_id,
    )
    verdict = Verdict(payments=sum(one.success for one in ledger.ours))
    check_payments(ledger, attempts, verdict)
    check_topups(ledger, ground.topup_ceiling, verdict)
    check_treasury(ledger, ground.token, verdict)
    check_coins(ledger, attempts, verdict)
    await _check_node(ledger, ground, verdict)
    await _check_balances(ledger, ground, psql, verdict)
    return verdict


def check_payments(ledger: Ledger, attempts: Sequence[Row], verdict: Verdict) -> None:
    """Every transaction of ours is a known attempt, does what was intended, is recorded as what it is, and is the only
    one of its idempotency key."""
    known = {row["txid"]: row for row in attempts}
    by_key: dict[str, list[str]] = defaultdict(list)
    landed = {one.txid: one for one in ledger.ours}
    for one in ledger.ours:
        row = known.get(one.txid)
        if row is None:
            verdict.doubles.append(f"tx {one.txid} of {one.sender} is unrecorded: {_moved(one)}")
            continue
        expected = "final" if one.success else "reverted"
        if row["attempt_state"] != expected or row["state"] != expected:
            verdict.wrongs.append(
                f"tx {one.txid} of transfer {row['transfer']} is {expected} on the chain, its attempt is "
                f"{row['attempt_state']} and the transfer {row['state']}"
            )
        if row["fee_paid"] != one.fee:
            verdict.wrongs.append(f"tx {one.txid} cost {one.fee}, the records say {row['fee_paid']}")
        if one.success:
            by_key[row["idempotency_key"]].append(one.txid)
            if not _does(one, row):
                verdict.wrongs.append(f"tx {one.txid} moved {_moved(one)}, transfer {row['transfer']} wanted otherwise")
    for key, txids in by_key.items():
        if len(txids) > 1:
            verdict.doubles.append(f"{len(txids)} payments for {key}: {', '.join(txids)}")
    for row in attempts:
        if row["attempt_state"] in ("final", "reverted") and row["txid"] not in landed:
            verdict.wrongs.append(
                f"tx {row['txid']} of transfer {row['transfer']} is recorded {row['attempt_state']} and is nowhere"
            )


def check_topups(ledger: Ledger, ceiling: int, verdict: Verdict) -> None:
    """Nobody gets gas who has it: what two workers, or two jobs, would do that pay for the same need."""
    for topup in ledger.topups:
        if topup.held >= ceiling:
            verdict.doubles.append(
                f"tx {topup.txid} gave {topup.amount} to {topup.wallet}, which held {topup.held} already"
            )


def check_treasury(ledger: Ledger, token: str, verdict: Verdict) -> None:
    """Every unit that customers sent is in the treasury, and nothing else."""
    deposited, swept = ledger.deposited[token], ledger.swept[token]
    if deposited != swept:
        left = {wallet: ledger.held[wallet, token] for wallet in ledger.wallets if ledger.held[wallet, token]}
        verdict.losses.append(f"{deposited} were deposited, {swept} reached the treasury; left: {left}")
    if ledger.held[ledger.treasury, token] != swept:
        verdict.wrongs.append(f"the treasury holds {ledger.held[ledger.treasury, token]}, {swept} were swept")


def check_coins(ledger: Ledger, attempts: Sequence[Row], verdict: Verdict) -> None:
    """Coins by the records are the coins on the chain, to the last unit: what outsiders sent, plus and minus what is
    recorded final, minus the fees that are recorded."""
    expected: Counter[str] = Counter(ledger.endowed)
    for row in attempts:
        if row["attempt_state"] not in ("final", "reverted"):
            continue
        expected[row["from_address"]] -= int(row["fee_paid"] or 0)
        if row["attempt_state"] == "final" and row["contract_address"] is None:
            expected[row["from_address"]] -= int(row["amount"])
            expected[row["to_address"]] += int(row["amount"])
    for address in sorted(ledger.senders):
        if expected[address] != ledger.held[address, None]:
            verdict.wrongs.append(
                f"{address} should hold {expected[address]} coins by the records, the chain adds up to "
                f"{ledger.held[address, None]}"
            )


async def _check_node(ledger: Ledger, ground: Ground, verdict: Verdict) -> None:
    """The judge has read the whole chain: the node's own balances are what its transactions add up to."""
    for address in sorted(ledger.senders):
        coin = await ground.coin_held(address)
        if coin != ledger.held[address, None]:
            verdict.wrongs.append(
                f"{address} holds {coin} coins, its transactions add up to {ledger.held[address, None]}"
            )
    for address in (ledger.treasury, *sorted(ledger.wallets)):
        token = await ground.token_held(address)
        if token != ledger.held[address, ground.token]:
            verdict.wrongs.append(
                f"{address} holds {token} tokens, its transactions add up to {ledger.held[address, ground.token]}"
            )


async def _check_balances(ledger: Ledger, ground: Ground, psql: Psql, verdict: Verdict) -> None:
    """What the sync has stored is what the chain holds."""
    rows = await psql.ask(
        """
        SELECT w.address, s.contract_address, b.on_chain_balance_raw
        FROM wallet_balances b
        JOIN wallets w ON w.id = b.wallet_id
        JOIN asset_on_chain s ON s.id = b.asset_on_chain_id
        WHERE w.chain_id = %s
        """,
        ground.chain_id,
    )
    for row in rows:
        held = ledger.held[row["address"], row["contract_address"]]
        if int(row["on_chain_balance_raw"]) != held:
            verdict.wrongs.append(
                f"{row['address']} holds {held} of {row['contract_address'] or 'the coin'}, wallet_balances says "
                f"{row['on_chain_balance_raw']}"
            )


async def judge_queue(psql: Psql) -> Verdict:
    """Everything about jobs and the rows behind them."""
    verdict = Verdict()
    verdict.losses += await _said(
        psql,
        "job {job} is gone: its last status was {status}",
        """
        SELECT DISTINCT ON (h.job) h.job, h.status FROM job_trail h
        WHERE NOT EXISTS (SELECT FROM job_logs j WHERE j.id = h.job) ORDER BY h.job, h.place DESC
        """,
    )
    verdict.losses += await _said(
        psql,
        "job {job_id} is {status} and has no end: {error_message}",
        """
        SELECT job_id, status, error_message FROM job_logs
        WHERE status IN ('pending', 'active', 'retrying') AND job_type IN ('gas-topup', 'consolidation', 'sync')
        """,
    )
    verdict.wrongs += await _said(
        psql,
        "job {job} ended as {was} and became {became} afterwards",
        """
        SELECT job, status AS was, next AS became FROM (
            SELECT job, status, lead(status) OVER (PARTITION BY job ORDER BY place) AS next FROM job_trail) h
        WHERE (status IN ('completed', 'cancelled') AND next IS NOT NULL)
           OR (status = 'failed' AND next IS NOT NULL AND next <> 'pending')
        """,
    )
    verdict.wrongs += await _said(
        psql,
        "job {job_id} is {status}, its payment {transfer} is {state}",
        """
        SELECT j.job_id, j.status, t.id AS transfer, t.state FROM job_logs j JOIN transfers t ON t.job_id = j.id
        WHERE (j.status = 'failed' AND t.state = 'final' AND NOT j.data ? 'not_sent'
               AND NOT EXISTS (SELECT FROM transfers o WHERE o.job_id = j.id AND o.state = 'reverted'))
           OR (j.status IN ('completed', 'failed', 'cancelled') AND t.state NOT IN ('final', 'reverted', 'rejected'))
           -- Cancelled between the two commits of a signature: it may have been given, and is sent all the same.
           OR (j.status = 'cancelled' AND t.state = 'final' AND NOT EXISTS (
               SELECT FROM signing_requests r JOIN chain_transactions a ON a.request_id = r.request_id
               WHERE r.bundle_id = t.bundle_id AND r.created_at <= j.completed_at
                 AND a.first_broadcast_at >= j.completed_at))
        """,
    )
    verdict.wrongs += await _said(
        psql,
        "nonce {nonce} of {sender} is {state}",
        "SELECT nonce, sender, state FROM nonces WHERE state IN ('reserved', 'void')",
    )
    verdict.losses += await _said(
        psql,
        "wallet {address} is still flagged for {wanted_job}",
        "SELECT address, wanted_job FROM wallets WHERE wanted_job IS NOT NULL",
    )
    return verdict


async def _said(psql: Psql, words: str, query: str) -> list[str]:
    return [words.format(**row) for row in await psql.ask(query)]


def _does(one: Landed, row: Row) -> bool:
    """Whether it moved exactly what its transfer wanted."""
    wanted = (row["contract_address"], row["from_address"], row["to_address"], int(row["amount"]))
    return [(move.contract, move.sender, move.receiver, move.amount) for move in one.movements] == [wanted]


def _moved(one: Landed) -> str:
    if not one.success:
        return "it failed"
    return "; ".join(f"{move.amount} of {move.contract or 'the coin'} to {move.receiver}" for move in one.movements)
