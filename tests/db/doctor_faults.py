"""Rows as replication leaves them, and the faults that doctor is to find in them."""

from dataclasses import dataclass

from pipeline.admin.checks.findings import Level
from tests.seed import address_of

JOB = "INSERT INTO job_logs (job_id, job_type, status, wallet_id, wallet_address, chain_id, run_at, lease, leased_by,"
JOB += " lease_deadline, started_at, awaiting_chain, completed_at, error_message, updated_at)"
"""A job as a row: what is not given is NULL or as it is for one that waits."""


@dataclass(frozen=True)
class Fault:
    """One way in which something goes wrong."""

    check: str
    sql: str | tuple[str, ...]
    """Statements, run while triggers do not fire."""
    said: str
    """Part of the message."""
    level: Level = Level.FAIL
    cure: str = ""
    """Part of what to do."""

    def __str__(self) -> str:
        return f"{self.check}: {self.said}"


def job(name: str, status: str = "pending", kind: str = "gas-topup", **columns: str) -> str:
    """A statement that inserts a job of the first wallet; columns as SQL."""
    values = {
        "wallet_id": "(SELECT id FROM wallets ORDER BY id LIMIT 1)",
        "wallet_address": "(SELECT address FROM wallets ORDER BY id LIMIT 1)",
        "chain_id": "(SELECT id FROM chains WHERE name = 'tron')",
        "run_at": "now()",
        "lease": "1",
        "leased_by": "NULL",
        "lease_deadline": "NULL",
        "started_at": "now()",
        "awaiting_chain": "false",
        "completed_at": "now()" if status in ("completed", "failed", "cancelled") else "NULL",
        "error_message": "NULL",
        "updated_at": "now()",
        **columns,
    }
    ordered = [
        values[name]
        for name in (
            "wallet_id", "wallet_address", "chain_id", "run_at", "lease", "leased_by", "lease_deadline", "started_at",
            "awaiting_chain", "completed_at", "error_message", "updated_at",
        )
    ]  # fmt: skip
    return f"{JOB} VALUES ('{name}', '{kind}', '{status}', {', '.join(ordered)})"


def payment(state: str, *, kind: str = "gas", of: str = "job", age: str = "0", key: str = "key") -> str:
    """A statement that inserts a payment of the job ``of``."""
    settled = "now()" if state in ("final", "reverted", "rejected") else "NULL"
    return f"""
        WITH bundle AS (
            INSERT INTO bundles (chain_id, sender) SELECT j.chain_id, 'T-gas' FROM job_logs j WHERE j.job_id = '{of}'
            RETURNING id
        )
        INSERT INTO transfers (kind, bundle_id, job_id, chain_id, wallet_id, asset_on_chain_id, from_address,
                               to_address, amount, idempotency_key, state, settled_at, created_at, updated_at)
        SELECT '{kind}', (SELECT id FROM bundle), j.id, j.chain_id, j.wallet_id,
               (SELECT id FROM asset_on_chain ORDER BY id LIMIT 1), 'T-gas', j.wallet_address,
               5000000, '{key}', '{state}', {settled}, now() - interval '{age}', now() - interval '{age}'
        FROM job_logs j WHERE j.job_id = '{of}'
    """  # noqa: S608


def attempt(state: str, *, expires: str = "1 minute", nonce: str = "NULL", block_time: str = "NULL") -> str:
    """A statement that inserts a signed attempt of the newest payment."""
    expiration = "NULL" if nonce != "NULL" else f"now() + interval '{expires}'"
    return f"""
        WITH payment AS (
            SELECT * FROM transfers t ORDER BY t.id DESC LIMIT 1
        ), request AS (
            INSERT INTO signing_requests (bundle_id, chain_id, sender, nonce, expiration, parameters, unsigned_bytes,
                                          fee_cap, state)
            SELECT t.bundle_id, t.chain_id, t.from_address, {nonce}, {expiration}, '{{}}', 'x', 1, 'signed'
            FROM payment t RETURNING request_id
        )
        INSERT INTO chain_transactions (bundle_id, request_id, chain_id, attempt, txid, signed_bytes, sender, nonce,
                                        expiration, fee_cap, state, first_broadcast_at, block_number, block_time,
                                        created_at)
        SELECT t.bundle_id, r.request_id, t.chain_id, 1, 'tx-' || t.id, 'x', t.from_address, {nonce}, {expiration}, 1,
               '{state}', now() - interval '1 hour', 7, {block_time}, now() - interval '1 hour'
        FROM payment t, request r
    """  # noqa: S608


AWAITING = job("job", "active", awaiting_chain="true")
OLD_JOB = job("old", run_at="now() - interval '1 hour'")
OUT = (AWAITING, payment("broadcasting"), attempt("broadcasting"))
OUT_WITH_NONCE = (AWAITING, payment("broadcasting"), attempt("broadcasting", nonce="4"))
SECOND = "(SELECT id FROM wallets ORDER BY id DESC LIMIT 1)"
WORKER = "INSERT INTO worker_registry (id, name, type) VALUES ('all-gas-topup-001', 'gas-topup@here:1', 'gas-topup')"

MONTH = "SELECT add_history_month('2020-02-01')"
MOVED = (
    "INSERT INTO job_history (id, seq, job_id, job_type, status, triggered_by, priority, data, retry_count,"
    " max_retries, run_at, lease, completed_at, created_at, updated_at) VALUES (gen_random_uuid(), 7, 'sync-7', 'sync',"
    " 'completed', 'manual', 0, '{}', 0, 3, '2020-02-03', 1, '2020-02-03', '2020-02-03', '2020-02-03')"
)
KEEP = "INSERT INTO system_config (key, value) VALUES ('history.keep_months', '6')"
COUNTED = "INSERT INTO job_counts VALUES ('2020-02-01', 'sync', 'completed', 0, 1, 0, 0)"

FAULTS = (
    Fault("history.months", MONTH, "no partition for", Level.WARN, cure="start sweep"),
    Fault(
        "history.months",
        (
            MONTH,
            "SELECT add_history_month(now()::date)",
            "ALTER TABLE job_history DETACH PARTITION flagpost_history.jobs_2020_02",
        ),
        "no partition for 2020-02",
        Level.WARN,
    ),
    Fault(
        "history.behind",
        job("old", "completed", completed_at="now() - interval '33 days'"),
        "1 finished jobs ought to have moved to job_history, the oldest ended 33 d ago",
        Level.WARN,
        cure="start sweep",
    ),
    Fault(
        "history.behind",
        job("old", "failed", completed_at="now() - interval '93 days'"),
        "the oldest ended 93 d ago",
        Level.WARN,
    ),
    Fault(
        "history.exports",
        (MONTH, MOVED, KEEP, COUNTED),
        "2020-02 was to leave job_history on 2020-09-01 and was not exported: its 1 jobs stay until then",
        Level.WARN,
        cure="flagpost history export 2020-02 FILE",
    ),
    Fault(
        "history.counts",
        "INSERT INTO job_count_deltas (month, job_type, status, chain_id, jobs, timed, duration_ms)"
        " SELECT '-infinity', 'sync', 'completed', 0, 1, 0, 0 FROM generate_series(1, 100001)",
        "100001 changes of the counts of ended jobs are not folded",
        Level.WARN,
        cure="start sweep",
    ),
    Fault(
        "triggers",
        "DROP TRIGGER balances_exist ON wallets",
        "missing: trigger balances_exist on wallets",
        cure="migrate",
    ),
    Fault(
        "triggers",
        "ALTER TABLE wallets DISABLE TRIGGER wallet_flags_update",
        "wallet_flags_update on wallets: disabled",
    ),
    Fault(
        "triggers",
        "ALTER TABLE job_logs ENABLE REPLICA TRIGGER job_transitions",
        "job_transitions on job_logs: fires on replicas only",
    ),
    Fault(
        "triggers",
        "DROP TRIGGER cursors ON chain_cursors;"
        "CREATE TRIGGER cursors AFTER UPDATE ON chain_cursors FOR EACH ROW EXECUTE FUNCTION set_updated_at()",
        "not as this version makes it: trigger cursors on chain_cursors",
    ),
    Fault(
        "triggers",
        "CREATE FUNCTION mine() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
        "CREATE TRIGGER theirs AFTER INSERT ON job_logs FOR EACH ROW EXECUTE FUNCTION mine()",
        "triggers of others fire on our tables: theirs on job_logs calls mine()",
        Level.NOTE,
    ),
    Fault(
        "schema.functions",
        "CREATE OR REPLACE FUNCTION lock_gas(p_chain_id integer) RETURNS void LANGUAGE sql AS 'SELECT NULL'",
        "functions are not those of this version: lock_gas",
        cure="find out who replaced them",
    ),
    Fault(
        "schema.functions", "DROP FUNCTION cancel_job(text, uuid)", "functions are missing: cancel_job", cure="migrate"
    ),
    Fault(
        "schema.functions",
        "CREATE FUNCTION evaluate_flags(integer[]) RETURNS integer LANGUAGE sql AS 'SELECT 0'",
        "with other parameters may be called instead: evaluate_flags",
    ),
    Fault(
        "schema.functions",
        "ALTER FUNCTION schema_version() SECURITY INVOKER",
        "not those of this version: schema_version",
    ),
    Fault(
        "schema.constraints",
        "ALTER TABLE transfers DROP CONSTRAINT transfers_idempotency_key_key",
        "missing: constraint transfers_idempotency_key_key on transfers",
    ),
    Fault(
        "schema.indexes",
        "DROP INDEX job_logs_one_live_job_per_wallet_and_type",
        "missing: index job_logs_one_live_job_per_wallet_and_type on job_logs",
    ),
    Fault("schema.indexes", "DROP INDEX job_logs_claim", "missing: index job_logs_claim on job_logs", Level.WARN),
    Fault(
        "schema.indexes",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'wallets_wanting_a_job'::regclass",
        "wallets_wanting_a_job on wallets: not valid",
        Level.WARN,
        cure="REINDEX",
    ),
    Fault(
        "schema.row_security", "ALTER TABLE job_logs DISABLE ROW LEVEL SECURITY", "job_logs: row level security is off"
    ),
    Fault(
        "schema.row_security",
        "ALTER POLICY flagpost_pipeline_executor_update ON transfers USING (true)",
        "not as this version makes it: policy flagpost_pipeline_executor_update on transfers",
    ),
    Fault(
        "schema.row_security", "ALTER TABLE admin_actions SET UNLOGGED", "admin_actions: unlogged: a crash empties it"
    ),
    Fault(
        "schema.owners",
        "ALTER TABLE chain_cursors OWNER TO pipeline_web",
        "table chain_cursors belongs to pipeline_web",
        cure="ALTER TABLE chain_cursors OWNER TO",
    ),
    Fault(
        "sequences", "SELECT setval('chains_id_seq', 1, false)", "chains_id_seq had drawn 0, and chains.id goes up to"
    ),
    Fault("sequences", (job("a"), "SELECT setval('job_logs_seq', 1, false)"), "job_logs_seq had drawn 0"),
    Fault(
        "processes.troubles",
        "INSERT INTO worker_registry (id, name, type, last_error) SELECT 'all-sync-00' || n, 'sync@' || n, 'sync',"
        " 'no node answers' FROM generate_series(1, 5) AS n",
        "sync@1, sync@2, sync@3 and 2 more: no node answers",
        Level.WARN,
        cure="do what it says",
    ),
    Fault(
        "processes.alerts",
        (
            "INSERT INTO alerts (rule, subject, severity, summary, action, raised_at)"
            " VALUES ('gas.low', 'tron', 'critical', 's', 'a', now())",
            "INSERT INTO alert_deliveries (alert_id, channel, event, attempts, created_at, first_attempt_at,"
            " last_error) SELECT id, 'slack', 'raised', 9, now() - interval '3 hours', now() - interval '3 hours',"
            " 'answered 404: no' FROM alerts",
        ),
        "1 messages of alerts did not arrive by slack, the oldest for 3 h; one says: answered 404: no",
        Level.WARN,
        cure="flagpost alerts test",
    ),
    Fault(
        "processes.heartbeats",
        "INSERT INTO worker_registry (id, name, type, last_heartbeat)"
        " VALUES ('all-sync-001', 'sync@here:1', 'sync', now() + interval '400 days')",
        "the last heartbeat of sync@here:1 is of",
        cure="start sweep, which corrects it",
    ),
    Fault("queue", job("a"), "gas-topup: 1 due, 0 later, 0 active", Level.NOTE),
    Fault(
        "queue.due",
        OLD_JOB,
        "tron: 1 gas-topup jobs have been due for 60 min, no gas-topup runs: old",
        cure="start one: flagpost gas-topup",
    ),
    Fault(
        "queue.due",
        (OLD_JOB, WORKER),
        "gas-topup runs and takes none of them",
    ),
    Fault(
        "queue.due",
        (OLD_JOB, WORKER, job("now", "active", wallet_id=SECOND, lease_deadline="now() + interval '1 minute'")),
        "gas-topup is behind",
        Level.WARN,
    ),
    Fault(
        "queue.due",
        (OLD_JOB, "UPDATE chains SET is_active = false"),
        "the chain is switched off",
        Level.WARN,
    ),
    Fault(
        "queue.waiting",
        (
            job(
                "job", error_message="'the base fee is 40 gwei, the cap is 20'", run_at="now() + interval '30 seconds'"
            ),
            "UPDATE job_logs SET created_at = now() - interval '3 hours'",
        ),
        "tron: 1 gas-topup jobs have been put off for 3 h; one says: the base fee is 40 gwei, the cap is 20",
    ),
    Fault(
        "queue.flags",
        "UPDATE wallets SET needs_gas = true, needs_gas_since = now() - interval '1 hour'"
        " WHERE id = (SELECT id FROM wallets ORDER BY id LIMIT 1)",
        "tron: 1 wallets have wanted gas-topup for 60 min and have no job",
        cure="start gas-topup and sweep",
    ),
    Fault(
        "queue.unserved",
        "INSERT INTO job_logs (job_type) VALUES ('deposit-detection')",
        "deposit-detection: 1 wait; no process of this version runs such jobs",
        Level.WARN,
    ),
    Fault(
        "queue.dead_letters",
        job("dead", "failed", error_message="'no gas in the station'"),
        "gas-topup: 1 of 1 jobs failed within a day (100.0 %); the newest says: no gas in the station",
        Level.WARN,
    ),
    Fault(
        "queue.dead_letters",
        tuple(job(f"dead-{number}", "failed") for number in range(10)),
        "gas-topup: 10 of 10 jobs failed",
        cure="flagpost jobs retry-failed --type gas-topup",
    ),
    Fault("queue.wallets", job("lost", wallet_id="NULL"), "1 waiting jobs have no wallet or no chain"),
    Fault("queue.wallets", job("half", chain_id="NULL"), "1 waiting jobs have no wallet or no chain"),
    Fault(
        "queue.times",
        job("far", "retrying", run_at="now() + interval '400 days'", error_message="'again'"),
        "gas-topup: 1 jobs are due until",
    ),
    Fault("queue.times", job("planned", run_at="now() + interval '400 days'"), "planned by hand: planned", Level.NOTE),
    Fault(
        "queue.leases",
        job("held", "active", lease_deadline="now() - interval '1 hour'"),
        "1 attempts are past their deadline and are not rescued",
    ),
    Fault(
        "queue.leases",
        job("held", "active", lease_deadline="now() + interval '400 days'"),
        "1 attempts have a deadline later than any is given",
        cure="sweep, which corrects a deadline",
    ),
    Fault(
        "queue.stranded",
        job("job", "active", awaiting_chain="true", updated_at="now() - interval '1 hour'"),
        "1 jobs wait for the chain with no payment out",
    ),
    Fault(
        "queue.ended_payments",
        (job("job", "failed", completed_at="now() - interval '1 hour'"), payment("requested")),
        "1 payments never left though their jobs have ended",
    ),
    Fault(
        "wallets.balances",
        "INSERT INTO wallets (chain_id, address, derivation_index) SELECT id, 'T-new', 50 FROM chains",
        "tron: 1 wallets have no TRX balance and are never read: T-new",
    ),
    Fault(
        "wallets.flags",
        "UPDATE wallet_balances SET on_chain_balance_raw = '500000000', on_chain_balance_human = 500, recheck = false"
        " WHERE id = (SELECT id FROM wallet_balances ORDER BY id DESC LIMIT 1)",
        "1 wallets have balances that call for a flag that is not raised",
    ),
    Fault(
        "wallets.units",
        "UPDATE wallet_balances SET unit = 10 WHERE id = (SELECT id FROM wallet_balances ORDER BY id DESC LIMIT 1)",
        "1 wallets have balances in another unit than their asset's",
    ),
    Fault(
        "wallets.flag_times",
        "UPDATE wallets SET needs_gas = true",
        "2 flags have no time since when they are raised",
        Level.WARN,
    ),
    Fault(
        "wallets.unread",
        "UPDATE wallet_balances SET next_check_at = now() - interval '1 hour'",
        "TRX balances have been due for 60 min; no sync reads them",
        cure="start sync",
    ),
    Fault(
        "wallets.unread",
        "UPDATE wallet_balances SET next_check_at = now() - interval '1 hour';"
        "UPDATE wallet_balances SET processing_status = 'processing', locked_by = 'x',"
        " locked_until = now() + interval '1 minute' WHERE id = (SELECT id FROM wallet_balances ORDER BY id LIMIT 1)",
        "sync is behind",
        Level.WARN,
    ),
    Fault(
        "wallets.schedule",
        "UPDATE wallet_balances SET next_check_at = now() + interval '400 days'",
        "tron: 2 TRX balances are not due until",
    ),
    Fault(
        "wallets.locks",
        "UPDATE wallet_balances SET processing_status = 'processing', locked_by = 'gone', locked_until = '2090-01-01'",
        "4 balances are locked until 2090-01-01 00:00:00+00 by gone",
    ),
    Fault(
        "money.out",
        (AWAITING, payment("broadcasting"), attempt("broadcasting", expires="-1 hour")),
        "tron: 1 payments have expired, and nothing proves that they are dead, for 60 min",
        cure="start confirmations",
    ),
    Fault(
        "money.out",
        OUT_WITH_NONCE,
        "tron: 1 payments are in no block, though replaced with higher fees, for 60 min",
    ),
    Fault(
        "money.out",
        (AWAITING, payment("included"), attempt("included", block_time="now() - interval '3 hours'")),
        "tron: 1 payments are in a block and do not become final, for 3 h",
    ),
    Fault(
        "money.unsent",
        (job("job", error_message="'the base fee is 40 gwei, the cap is 20'"), payment("requested", age="3 hours")),
        "1 payments were decided 3 h ago and are not on their way; one waits for: the base fee is 40 gwei",
        Level.WARN,
    ),
    Fault(
        "senders.frozen",
        "INSERT INTO senders (chain_id, sender, frozen, frozen_since)"
        " SELECT id, '0xabc', 'nonce 7 was used by tx 0x1', now() FROM chains",
        "tron: 0xabc has been frozen for 0 s and pays nothing: nonce 7 was used by tx 0x1",
        cure="flagpost senders release tron 0xabc",
    ),
    Fault(
        "senders.stuck",
        "INSERT INTO senders (chain_id, sender, stuck, stuck_since)"
        " SELECT id, '0xabc', 'no block takes it', now() - interval '2 hours' FROM chains",
        "tron: 0xabc has been stuck for 2 h: no block takes it",
        cure="do what it says",
    ),
    Fault(
        "senders.stuck",
        "INSERT INTO senders (chain_id, sender, stuck, stuck_since, unexplained)"
        " SELECT id, '0xabc', 'who knows', now() - interval '2 hours', '{[1,3)}' FROM chains",
        "tron: 0xabc has been stuck for 2 h: who knows",
        cure="flagpost senders release tron 0xabc",
    ),
    Fault(
        "senders.unknown",
        "INSERT INTO senders (chain_id, sender, unknown_below, unknown_since)"
        " SELECT id, '0xabc', 9, now() - interval '2 hours' FROM chains",
        "tron: 0xabc has made transactions that are missing from the database, being reconciled for 2 h",
        cure="confirmations runs",
    ),
    Fault(
        "money.void_nonces",
        "INSERT INTO nonces (chain_id, sender, nonce, state, updated_at)"
        " SELECT id, '0xabc', 9, 'void', now() - interval '1 hour' FROM chains",
        "tron: 1 nonces of 0xabc have had no transaction for",
    ),
    Fault(
        "money.replacements",
        (*OUT_WITH_NONCE, "UPDATE transfers SET replace_wanted_at = now() - interval '1 hour'"),
        "tron: 1 payments have waited 60 min to be replaced with a higher fee; one is of T-gas",
    ),
    Fault(
        "money.contradictions",
        (job("job", "completed"), payment("final"), attempt("broadcasting")),
        "settled as final with a signed transaction that is broadcasting",
    ),
    Fault(
        "money.contradictions",
        (AWAITING, payment("broadcasting")),
        "broadcasting with no signed transaction that is out",
    ),
    Fault(
        "money.contradictions",
        (job("job", "failed"), payment("broadcasting"), attempt("broadcasting")),
        "broadcasting while its job is failed",
    ),
    Fault(
        "money.contradictions",
        (
            job("job", "completed"),
            payment("final"),
            attempt("final", nonce="4"),
            "INSERT INTO nonces (chain_id, sender, nonce, bundle_id)"
            " SELECT chain_id, from_address, 4, bundle_id FROM transfers",
        ),
        "settled as final while its nonce is reserved",
    ),
    Fault(
        "money.contradictions", (job("job", "completed"), payment("reverted")), "reverted with no transaction that is"
    ),
    Fault(
        "money.uncounted",
        (job("job"), payment("requested")),
        "tron: 1 top-ups were asked for in the hour of",
        cure="lower tron.gas_max_per_day",
    ),
    Fault(
        "money.budgets",
        "INSERT INTO gas_spending (chain_id, hour, topups, amount)"
        " SELECT id, date_trunc('hour', now(), 'UTC'), 1, gas_max_per_day FROM chains;"
        "UPDATE wallets SET needs_gas = true",
        "tron: gas_max_per_day leaves no top-up (10000 of 10000 TRX are spent); 2 wallets want gas",
        cure="flagpost config set tron.gas_max_per_day",
    ),
    Fault(
        "money.budgets",
        "UPDATE chains SET gas_max_total = 1",
        "tron: gas_max_total leaves no top-up",
        Level.WARN,
    ),
    Fault(
        "money.budgets",
        "INSERT INTO gas_spending (chain_id, hour, topups, amount)"
        " SELECT id, date_trunc('hour', now(), 'UTC'), 1, 0.8 * gas_max_per_day FROM chains;"
        "UPDATE wallets SET needs_gas = true",
        "tron: gas_max_per_day is nearly spent (8000 of 10000 TRX are spent); 2 wallets want gas",
        Level.WARN,
    ),
    Fault(
        "money.treasury",
        "UPDATE chains SET treasury_address = 'T-gas', gas_address = 'T-gas'",
        "tron: the treasury is the gas wallet T-gas",
    ),
    Fault(
        "money.treasury",
        "UPDATE chains SET treasury_address = (SELECT address FROM wallets WHERE derivation_index = 10)",
        f"tron: the treasury {address_of(10)} is a customer's wallet",
        cure="flagpost chains disable tron",
    ),
    Fault(
        "money.cursors",
        "INSERT INTO chain_cursors (chain_id, purpose, block_number, block_id, block_time)"
        " SELECT id, 'confirmations', 999999999, 'x', now() + interval '1 hour' FROM chains",
        "tron: final blocks are recorded as read up to 999999999",
        cure="paused true",
    ),
    Fault(
        "money.cursors",
        (
            *OUT,
            "INSERT INTO chain_cursors (chain_id, purpose, block_number, block_id, block_time, updated_at)"
            " SELECT id, 'confirmations', 5, 'x', now(), now() - interval '1 hour' FROM chains",
        ),
        "tron: payments are out, and final blocks are read up to 5, no further for 60 min",
        cure="start confirmations",
    ),
    Fault(
        "money.switched_off",
        (*OUT, "UPDATE chains SET is_active = false"),
        "tron is switched off and has 1 payments out",
        Level.WARN,
    ),
    Fault(
        "money.switched_off",
        "UPDATE wallet_balances SET on_chain_balance_raw = '7', on_chain_balance_human = 0.000007;"
        "UPDATE asset_on_chain SET is_active = false WHERE symbol = 'USDT'",
        "USDT of tron is switched off, and 2 wallets hold some",
        Level.WARN,
    ),
)
