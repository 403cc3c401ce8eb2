"""What must hold when a run is over: read from the chain first, and only then held against the records."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from psycopg.rows import dict_row

from tests.seed import USDT
from tests.simulation.network import Moved
from tests.simulation.simulation import Simulation

DUE_FROM = 200 * USDT
"""A wallet that holds more is emptied."""


class Judge:
    """Of one run. ``house`` and ``wallets`` are addresses of ours."""

    def __init__(self, simulation: Simulation, gas: str, treasury: str, wallets: Sequence[str]) -> None:
        self._simulation = simulation
        self._network = simulation.network
        self._gas = gas
        self._treasury = treasury
        self._wallets = wallets

    def is_settled(self) -> bool:
        """Nothing is left to do, as far as records and chain say, nor to be read: not every deposit calls for work."""
        (busy,) = self._rows(
            "SELECT EXISTS (SELECT FROM wallets WHERE needs_gas OR needs_consolidation) "
            "OR EXISTS (SELECT FROM transfers WHERE state NOT IN ('final', 'reverted', 'rejected')) "
            "OR EXISTS (SELECT FROM nonces WHERE state IN ('reserved', 'void')) "
            "OR EXISTS (SELECT FROM job_logs WHERE status IN ('pending', 'active', 'retrying')) AS busy"
        )
        if busy["busy"] or any(self._is_due(wallet) for wallet in self._wallets):
            return False
        return not any(self._of_balances())

    def verdict(self) -> list[str]:
        """What is wrong; nothing if all is as it must be."""
        return [
            *self._simulation.faults,
            *self._of_payments(),
            *self._of_records(),
            *self._of_jobs(),
            *self._of_balances(),
        ]

    def doubles(self) -> int:
        """Payments made more often than once, by the chain."""
        return sum(count - 1 for count in self._landed().values() if count > 1)

    def missing(self) -> int:
        """Raw units that are due in the treasury and not there."""
        return sum(
            self._network.balance(wallet, self._network.token.contract)
            for wallet in self._wallets
            if self._is_due(wallet)
        )

    def payments(self) -> int:
        """Payments that are on the chain."""
        return sum(self._landed().values())

    # -- the chain's word

    def _of_payments(self) -> Iterator[str]:
        known = {row["txid"]: row for row in self._attempts()}
        for sent in self._network.sent_by({self._gas, *self._wallets}):
            if sent.txid not in known:
                yield f"tx {sent.txid} of {sent.sender} in block {sent.block} is unrecorded"
        for key, count in self._landed().items():
            if count > 1:
                yield f"payment {key} was made {count} times"
        for wallet in self._wallets:
            if self._is_due(wallet):
                held = self._network.balance(wallet, self._network.token.contract)
                yield f"{wallet} still holds {held / USDT:g} USDT"
        yield from self._of_gas()

    def _of_gas(self) -> Iterator[str]:
        """One need is served once: a wallet that got gas spends some of it before it gets more, unless fees have
        changed or tokens have come."""
        if self._simulation.happened["fees change"] or self._simulation.happened["deposit"]:
            return
        filled: dict[str, Moved] = {}
        spent = {(one.sender, one.block) for one in self._network.sent_by(set(self._wallets))}
        for one in self._network.moved():
            if one.sender != self._gas or one.contract is not None or one.receiver not in self._wallets:
                continue
            before = filled.get(one.receiver)
            filled[one.receiver] = one
            if before is None:
                continue
            if not any(wallet == one.receiver and before.block <= block <= one.block for wallet, block in spent):
                yield f"{one.receiver} got gas by tx {before.txid} and, before it spent any, by tx {one.txid}"

    def _landed(self) -> Counter[str]:
        """Successful payments of ours on the chain, by idempotency key."""
        keys = {row["txid"]: row["idempotency_key"] for row in self._attempts()}
        return Counter(keys[one.txid] for one in self._ours() if one.txid in keys)

    def _ours(self) -> list[Moved]:
        ours = {self._gas, *self._wallets}
        return [one for one in self._network.moved() if one.sender in ours]

    def _is_due(self, wallet: str) -> bool:
        return self._network.balance(wallet, self._network.token.contract) > DUE_FROM

    # -- the records

    def _of_records(self) -> Iterator[str]:
        recorded = Counter(
            (row["txid"], row["to_address"], int(row["amount"]))
            for row in self._attempts()
            if row["state"] == row["transfer_state"] == "final"
        )
        happened = Counter((one.txid, one.receiver, one.amount) for one in self._ours())
        for one, count in (recorded - happened).items():
            yield f"recorded {count} times more than it happened: {one}"
        for one, count in (happened - recorded).items():
            yield f"happened {count} times more than it was recorded: {one}"
        fees = {one.txid: one.fee for one in self._network.sent_by({self._gas, *self._wallets})}
        for row in self._attempts():
            if row["state"] in ("final", "reverted") and fees.get(row["txid"]) != int(row["fee_paid"]):
                yield f"tx {row['txid']} cost {fees.get(row['txid'])}, recorded are {row['fee_paid']}"
        live = self._rows("SELECT id, state FROM transfers WHERE state NOT IN ('final', 'reverted', 'rejected')")
        for row in live:
            yield f"transfer {row['id']} is still {row['state']}"
        for row in self._rows("SELECT sender, nonce, state FROM nonces WHERE state IN ('reserved', 'void')"):
            yield f"nonce {row['nonce']} of {row['sender']} is still {row['state']}"

    def _of_jobs(self) -> Iterator[str]:
        for row in self._rows(
            "SELECT j.job_id, j.status, j.awaiting_chain, j.error_message FROM job_logs j "
            "WHERE j.status IN ('pending', 'active', 'retrying')"
        ):
            yield f"job {row['job_id']} is still {row['status']} ({row['error_message']})"
        for row in self._rows(
            "SELECT job_id FROM job_logs WHERE (status = 'completed' AND data ->> 'outcome' = 'sent' AND NOT EXISTS "
            "(SELECT FROM transfers t WHERE t.job_id = job_logs.id AND t.state = 'final')) "
            "OR (status IN ('failed', 'cancelled') AND job_type <> 'sync' AND EXISTS "
            "(SELECT FROM transfers t WHERE t.job_id = job_logs.id AND t.state = 'final') AND NOT EXISTS "
            "(SELECT FROM transfers t WHERE t.job_id = job_logs.id AND t.state IN ('reverted', 'rejected')))"
        ):
            yield f"job {row['job_id']} ended otherwise than its payments"
        for row in self._rows("SELECT id FROM wallets WHERE needs_gas OR needs_consolidation"):
            yield f"wallet {row['id']} is still flagged"

    def _of_balances(self) -> Iterator[str]:
        """What the system believes of its wallets is what they have."""
        for row in self._rows(
            "SELECT w.address, a.contract_address, b.on_chain_balance_raw FROM wallet_balances b "
            "JOIN wallets w ON w.id = b.wallet_id JOIN asset_on_chain a ON a.id = b.asset_on_chain_id "
            "WHERE b.last_error IS NULL AND NOT b.recheck"
        ):
            held = self._network.balance(row["address"], row["contract_address"])
            if held != int(row["on_chain_balance_raw"]):
                known = row["on_chain_balance_raw"]
                yield f"{row['address']} holds {held} of {row['contract_address']}, known are {known}"

    def _attempts(self) -> list[dict[str, Any]]:
        return self._rows(
            "SELECT a.txid, a.state, a.fee_paid, t.state AS transfer_state, t.idempotency_key, t.to_address, t.amount "
            "FROM chain_transactions a JOIN transfers t ON t.bundle_id = a.bundle_id"
        )

    def picture(self) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """The records as they stand, for whoever has to understand them."""
        return {
            "jobs": self._rows(
                "SELECT job_id, status, awaiting_chain, lease, retry_count, run_at::time(0)::text, error_message, "
                "data - 'history' - 'flagged_at' - 'wait_ms' AS data FROM job_logs WHERE job_type <> 'sync' "
                "ORDER BY seq"
            ),
            "transfers": self._rows(
                "SELECT id, kind, wallet_id, state, amount::text, created_at::time(0)::text, error_message "
                "FROM transfers ORDER BY id"
            ),
            "attempts": self._rows(
                "SELECT id, bundle_id, attempt, left(txid, 10) AS txid, state, nonce, broadcast_count, last_result, "
                "block_number FROM chain_transactions ORDER BY id"
            ),
            "nonces": self._rows("SELECT sender, nonce, state, bundle_id FROM nonces ORDER BY sender, nonce"),
            "wallets": self._rows("SELECT id, address, needs_gas, needs_consolidation FROM wallets ORDER BY id"),
            "workers": self._rows("SELECT name, status, last_error FROM worker_registry WHERE status <> 'stopped'"),
        }

    def _rows(self, query: str) -> list[dict[str, Any]]:
        with self._simulation.database.plain.cursor(row_factory=dict_row) as cursor:
            cursor.execute(query)  # type: ignore[arg-type]
            return cursor.fetchall()


def by_kind(verdict: Sequence[str]) -> frozenset[str]:
    """What is wrong, without the names: two runs fail alike if these are equal."""
    words: dict[str, int] = defaultdict(int)
    for line in verdict:
        words[" ".join(word for word in line.split() if word.isalpha())] += 1
    return frozenset(words)
