"""What the triggers cost: balances written by the sync's own statements, with the triggers and without.

Three databases on one embedded server hold the same wallets. In two the triggers of wallet_balances and wallets are
dropped, and so is the check that they keep true (raw and human are the same amount): *plain* writes the balances and
nothing else, *by hand* sets the same flags with a statement of its own (bench/flags_by_hand.sql), in the transaction of
the store. Every batch is written in all, one right after the other and in turns first, so that whatever else the
machine does hits all alike. A batch is what a sync does: claim, then store, each its own transaction.

    unchanged   2 % of the amounts moved since the last read: an ordinary day
    changed     every amount moved, no wallet crossed a threshold
    flipping    every amount moved and every wallet crossed both thresholds, up or down: half as many rows again are
                written, in wallets, which the plain side does not do and the one by hand does

    python -m bench.trigger_cost --rows 100000 --batch 1000 --rounds 5
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from bench.statements import parts, text
from pipeline.db.migrate import migrate
from pipeline.db.statements import statement
from pipeline.embedded.cluster import socket_directory
from pipeline.embedded.server import EmbeddedServer

Row = dict[str, Any]
LOW_COIN, HIGH_COIN = 1_000_000, 9_000_000  # sun; the threshold is 5,000,000
LOW_TOKEN, HIGH_TOKEN = 10_000_000, 300_000_000  # raw units of USDT; the threshold is 200,000,000

WALLETS = """
INSERT INTO wallets (chain_id, address, derivation_index)
SELECT c.id, 'T' || lpad(n::text, 33, '0'), n + 10 FROM chains c, generate_series(1, %s) AS n
"""
FIRST_READ = """
UPDATE wallet_balances b SET recheck = false, block_number = 1, last_checked = now(),
       on_chain_balance_raw = CASE WHEN a.contract_address IS NULL THEN %s ELSE %s END
FROM asset_on_chain a WHERE a.id = b.asset_on_chain_id
"""
PLAIN = """
DO $$
DECLARE one text;
BEGIN
    FOR one IN SELECT format('%I ON %s', tgname, tgrelid::regclass) FROM pg_trigger
               WHERE tgrelid IN ('wallet_balances'::regclass, 'wallets'::regclass) AND NOT tgisinternal LOOP
        EXECUTE 'DROP TRIGGER ' || one;
    END LOOP;
    ALTER TABLE wallet_balances DROP CONSTRAINT raw_and_human_are_the_same_amount;
END
$$
"""
TRIGGERS, HAND, NOTHING = "triggers", "by hand", "plain"
FLAGS = "SELECT derivation_index, needs_gas, needs_consolidation FROM wallets ORDER BY derivation_index"
MAKE_DUE = "UPDATE wallet_balances SET next_check_at = now() - interval '1 second'"


def unchanged(row: Row, round_number: int) -> int:
    return int(row["known_raw"]) + ((int(row["address"][1:]) + round_number) % 50 == 0)


def changed(row: Row, _round_number: int) -> int:
    return int(row["known_raw"]) + 1


def flipping(row: Row, round_number: int) -> int:
    low, high = (LOW_COIN, HIGH_COIN) if row["contract_address"] is None else (LOW_TOKEN, HIGH_TOKEN)
    # Up and down together: needs_gas falls as needs_consolidation rises, and the other way round.
    return high if round_number % 2 else low


MIXES: dict[str, Callable[[Row, int], int]] = {"unchanged": unchanged, "changed": changed, "flipping": flipping}


@dataclass
class Side:
    """One of the databases, and the seconds of the round that runs."""

    name: str
    connection: psycopg.Connection[Row]
    chain_id: int
    claim_seconds: float = 0.0
    store_seconds: float = 0.0
    stored: int = 0
    rounds: list[dict[str, float]] = field(default_factory=list)

    def write_batch(self, size: int, new_amount: Callable[[Row, int], int], round_number: int, lock: str) -> int:
        started = time.perf_counter()
        claimed = self.connection.execute(
            statement("sync/claim"), {"batch": size, "lock": lock, "lock_seconds": 120, "chain_id": self.chain_id}
        ).fetchall()
        between = time.perf_counter()
        parameters = {
            "ids": [row["id"] for row in claimed],
            "raws": [str(new_amount(row, round_number)) for row in claimed],
            "blocks": [round_number + 1] * len(claimed),
            "errors": [None] * len(claimed),
            "lock": lock,
        }
        resumed = time.perf_counter()
        with self.connection.transaction():
            stored = self.connection.execute(statement("sync/store"), parameters).fetchall()
            if self.name == HAND:
                self.connection.execute(text("flags_by_hand"), parameters)
        self.store_seconds += time.perf_counter() - resumed
        self.claim_seconds += between - started
        self.stored += len(stored)
        return len(claimed)

    def end_round(self, rows: int) -> None:
        if self.stored != rows:
            raise RuntimeError(f"{self.name}: {self.stored} of {rows} balances were written")
        self.rounds.append({"claim": self.claim_seconds, "store": self.store_seconds})
        self.claim_seconds = self.store_seconds = 0.0
        self.stored = 0
        self.connection.execute(MAKE_DUE)
        self.connection.execute("VACUUM (ANALYZE) wallet_balances")
        self.connection.execute("VACUUM (ANALYZE) wallets")


@contextmanager
def server() -> Iterator[str]:
    """The DSN of an embedded server in a directory that its account can reach."""
    home = Path(tempfile.mkdtemp(prefix="flagpost-bench-"))
    home.chmod(0o755)
    try:
        # Vacuum runs between the rounds, in both databases: not when it likes.
        with EmbeddedServer(home, settings={"autovacuum": "off", "checkpoint_timeout": "1h"}) as running:
            yield running.dsn
    finally:
        shutil.rmtree(socket_directory(home), ignore_errors=True)
        shutil.rmtree(home)


def prepare(dsn: str, database: str, name: str, rows: int) -> Side:
    import asyncio

    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(database)))
    own = make_conninfo(dsn, dbname=database)
    asyncio.run(migrate(own))
    connection = psycopg.connect(own, autocommit=True, row_factory=dict_row)
    for part in parts("flagpost/chain"):
        connection.execute(part)
    connection.execute(WALLETS, [rows // 2])
    connection.execute(FIRST_READ, [str(LOW_COIN), str(LOW_TOKEN)])
    if name != TRIGGERS:
        connection.execute(PLAIN)
    connection.execute(MAKE_DUE)
    connection.execute("VACUUM (ANALYZE)")
    (chain,) = connection.execute("SELECT id FROM chains").fetchall()
    return Side(name, connection, chain["id"])


def run(sides: list[Side], rows: int, batch: int, rounds: int) -> dict[str, Any]:
    report: dict[str, Any] = {}
    serial = 0
    for mix, new_amount in MIXES.items():
        for side in sides:
            side.rounds.clear()
        for round_number in range(1, rounds + 2):  # the first one warms up
            for _ in range(-(-rows // batch)):
                serial += 1
                first = serial % len(sides)
                for side in sides[first:] + sides[:first]:
                    side.write_batch(batch, new_amount, serial_round(serial, round_number), f"bench:{serial}")
            for side in sides:
                side.end_round(rows)
            by_trigger, by_hand = (side.connection.execute(FLAGS).fetchall() for side in sides if side.name != NOTHING)
            if by_trigger != by_hand:
                raise RuntimeError(f"{mix}: the statement by hand sets other flags than the triggers")
        report[mix] = {step: compare(sides, step) for step in ("claim", "store")}
        report[mix]["claim and store"] = compare(sides, None)
    return report


def serial_round(serial: int, round_number: int) -> int:
    """The block of a round: grows over all mixes, and is odd where the round is."""
    return serial // 2 * 2 + round_number % 2


def compare(sides: list[Side], step: str | None) -> dict[str, Any]:
    seconds = {side.name: [one[step] if step else sum(one.values()) for one in side.rounds[1:]] for side in sides}
    figures = seconds | {
        f"ratio to {other}": [ours / theirs for ours, theirs in zip(seconds[TRIGGERS], seconds[other], strict=True)]
        for other in (NOTHING, HAND)
    }
    return {
        name: {"median": statistics.median(each), "min": min(each), "max": max(each), "rounds": each}
        for name, each in figures.items()
    }


def show(report: dict[str, Any], rows: int) -> None:
    print(f"{rows:,} balances a round; seconds, median (min-max)".replace(",", " "))
    columns = (NOTHING, HAND, TRIGGERS, f"ratio to {NOTHING}", f"ratio to {HAND}")
    print(f"{'mix':<11}{'step':<17}" + "".join(f"{column:<22}" for column in columns))
    for mix, steps in report.items():
        for step, figures in steps.items():
            cells = [
                f"{one['median']:.3f} ({one['min']:.3f}-{one['max']:.3f})"
                for one in (figures[column] for column in columns)
            ]
            print(f"{mix:<11}{step:<17}" + "".join(f"{cell:<22}" for cell in cells))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000, help="balances, two to a wallet (default %(default)s)")
    parser.add_argument("--batch", type=int, default=1_000, help="balances a statement (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count, per mix (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    options = parser.parse_args()
    if options.rows < 2 or options.rows % 2 or options.batch < 1 or options.rounds < 1:
        parser.error("--rows must be even and positive, --batch and --rounds positive")

    with server() as dsn:
        sides = [prepare(dsn, name.replace(" ", "_"), name, options.rows) for name in (NOTHING, HAND, TRIGGERS)]
        try:
            report = run(sides, options.rows, options.batch, options.rounds)
        finally:
            for side in sides:
                side.connection.close()
    if options.json:
        print(json.dumps({"rows": options.rows, "batch": options.batch, "rounds": options.rounds, "mixes": report}))
    else:
        show(report, options.rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
