"""``flagpost jobs``: what the automation does, did, and could not do."""

from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.markup import escape

from pipeline.admin import jobs
from pipeline.admin.session import Connection, Row, database
from pipeline.cli.acting import JsonOption, run_action
from pipeline.cli.lengths import length
from pipeline.cli.output import CommandError, age, err, out, print_json, print_table, span
from pipeline.db.statements import statement
from pipeline.queue.jobs import JobType, TriggeredBy
from pipeline.settings import Settings
from pipeline.units import to_human

MOST_LISTED = 100_000
MOST_HOURS = 24 * 366
MOST_MINUTES = 60 * MOST_HOURS

app = typer.Typer(no_args_is_help=True, help="Jobs: list, show, retry, retry-failed, cleanup-stuck, cancel.")

JobArgument = Annotated[str, typer.Argument(help="job_id (gas-topup-17) or id (UUID).", metavar="JOB")]

COLOURS = {
    "pending": "yellow",
    "retrying": "yellow",
    "active": "cyan",
    "completed": "green",
    "failed": "red",
    "cancelled": "dim",
    "final": "green",
    "reverted": "red",
    "rejected": "dim",
}
PRIORITIES = {-10: "low", 0: "normal", 10: "high"}


class JobStatus(StrEnum):
    """Choices of --status."""

    PENDING = "pending"
    ACTIVE = "active"
    RETRYING = "retrying"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@app.command("list")
def list_jobs(
    status: Annotated[JobStatus | None, typer.Option(help="Only this status.")] = None,
    job_type: Annotated[JobType | None, typer.Option("--type", help="Only this type.")] = None,
    triggered_by: Annotated[TriggeredBy | None, typer.Option(help="Only jobs triggered by it.")] = None,
    wallet: Annotated[str | None, typer.Option(help="Only this wallet's address.")] = None,
    since: Annotated[str | None, typer.Option(help="Created within: 30s, 15min, 2h, 7d.")] = None,
    summaries: Annotated[
        bool, typer.Option("--summaries", help="Also the queue summaries that the sweep writes.")
    ] = False,
    before: Annotated[
        str | None, typer.Option(metavar="JOB", help="Only jobs older than this one: the next page.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST_LISTED, help="At most so many.")] = 30,
    as_json: JsonOption = False,
) -> None:
    """Jobs, newest first; those that have moved to job_history, too.

    Example: [bold]flagpost jobs list --status failed --since 1d[/]
    """
    filters = {
        "status": status,
        "job_type": job_type,
        "triggered_by": triggered_by,
        "wallet": wallet,
        "since": None if since is None else datetime.now(UTC) - length(since, "--since"),
        "summaries": summaries,
        "limit": limit,
    }
    with database(Settings.load(), "jobs list") as connection:
        rows = _listed(connection, filters, before)
    if as_json:
        print_json(rows)
        return
    if not rows:
        err.print("no job matches")
        return
    print_table(
        ("job", "status", "wallet", "by", "failures", "created", "took", "outcome"),
        [_list_row(row) for row in rows],
    )
    counts = Counter(row["status"] for row in rows)
    err.print("  ".join(f"{number} {name}" for name, number in counts.most_common()))


@app.command()
def show(job: JobArgument, as_json: JsonOption = False) -> None:
    """One job: why it runs, its attempts, and every transaction it made.

    Example: [bold]flagpost jobs show gas-topup-17[/]
    """
    with database(Settings.load(), "jobs show") as connection:
        row = _find(connection, job)
        attempts = connection.execute(statement("jobs/transactions"), {"id": row["id"]}).fetchall()
    if as_json:
        print_json({**row, "transactions": attempts})
        return
    data = dict(row["data"])
    history = _history(data.get("history"))
    if history:
        del data["history"]
    out.print(f"[bold]{escape(row['job_id'])}[/]  {_status(row)}  [dim]{row['id']}[/]")
    for name, value in _facts(row):
        out.print(f"  [dim]{name:<11}[/] {value}")
    if data:
        out.print("data (amounts in raw units)")
    for name, value in sorted(data.items()):
        out.print(f"  [dim]{escape(name):<11}[/] {escape(str(value))}")
    if history:
        out.print("attempts that failed")
        for number, attempt in enumerate(history, start=1):
            when, why = escape(str(attempt.get("at", ""))), escape(str(attempt.get("error", "")))
            out.print(f"  {number}. [dim]{when}[/] {why}")
    _print_transfers(attempts)


@app.command()
def retry(
    job: JobArgument,
    reset: Annotated[
        bool, typer.Option("--reset/--no-reset", help="Give it all its attempts again, or only one more.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Run a failed job again, at once.

    A payment is never repeated by this: the job reads the chain and its own records first.

    Example: [bold]flagpost jobs retry consolidation-42[/]
    """
    done = run_action(
        Settings.load(), "jobs retry", lambda connection: jobs.retry(connection, job, reset_retry_count=reset)
    )
    if as_json:
        print_json(asdict(done))
    else:
        out.print(f"{escape(done.job_id)} runs again ({done.retries_left} retries left)")


@app.command("retry-failed")
def retry_failed(
    job_type: Annotated[JobType | None, typer.Option("--type", help="Only this type; default: every type.")] = None,
    hours: Annotated[int, typer.Option(min=1, max=MOST_HOURS, help="Those that failed in the last hours.")] = 24,
    as_json: JsonOption = False,
) -> None:
    """Run the jobs that failed lately again, once what made them fail is mended.

    A wallet that has a live job of the type already is left out; of several failed jobs of a wallet the newest runs.

    Example: [bold]flagpost jobs retry-failed --type gas-topup --hours 6[/]
    """
    count = run_action(
        Settings.load(), "jobs retry-failed", lambda connection: jobs.retry_failed(connection, job_type, hours)
    )
    print_json({"retried": count}) if as_json else out.print(f"{count} jobs run again")


@app.command("cleanup-stuck")
def cleanup_stuck(
    minutes: Annotated[int, typer.Option(min=0, max=MOST_MINUTES, help="Those that did not move for so long.")] = 10,
    as_json: JsonOption = False,
) -> None:
    """Take jobs from workers that are dead or silent, so that others run them. The sweep does it every 10 minutes.

    A job whose transaction may still land on the chain is never taken.

    Example: [bold]flagpost jobs cleanup-stuck --minutes 5[/]
    """
    count = run_action(
        Settings.load(), "jobs cleanup-stuck", lambda connection: jobs.cleanup_stuck(connection, minutes)
    )
    print_json({"rescued": count}) if as_json else out.print(f"{count} jobs taken from dead or silent workers")


@app.command()
def cancel(job: JobArgument, as_json: JsonOption = False) -> None:
    """Cancel a job that has not sent anything.

    A job whose transaction may still land on the chain cannot be cancelled: nobody could take the payment back.

    Example: [bold]flagpost jobs cancel gas-topup-17[/]
    """
    job_id = run_action(Settings.load(), "jobs cancel", lambda connection: jobs.cancel(connection, job))
    if as_json:
        print_json({"job_id": job_id, "status": "cancelled"})
    else:
        out.print(f"{escape(job_id)} is cancelled; its wallet's flag stays as it is")


def _listed(connection: Connection, filters: dict[str, Any], before: str | None) -> list[dict[str, Any]]:
    """The jobs of ``flagpost jobs list``. A wallet's are found by the wallet, those of an address it had before by
    reading them all."""
    place: Row | None = {"created_at": None, "seq": None}
    if before is not None:
        place = connection.execute(statement("jobs/place"), {"job": before}).fetchone()
    if place is None:
        raise CommandError(f"there is no job {before!r}", "name the last one of the page before")
    asked = {**filters, "before_created": place["created_at"], "before_seq": place["seq"]}
    name = "jobs/list"
    if filters["wallet"] is not None:
        known = connection.execute(statement("jobs/has_wallet"), {"wallet": filters["wallet"]}).fetchone()
        name = "jobs/of_wallet" if known is not None and known["is_wallet"] else name
    return connection.execute(statement(name), asked).fetchall()


def _find(connection: Connection, job: str) -> Row:
    row = connection.execute(statement("jobs/show"), {"job": job}).fetchone()
    if row is None:
        raise CommandError(f"there is no job {job!r}", "find it with: flagpost jobs list")
    return row


def _history(value: Any) -> list[dict[str, Any]]:
    """The attempts that failed; none where anybody has written something else there, which is shown as it is."""
    is_history = isinstance(value, list) and all(isinstance(entry, dict) for entry in value)
    return value if is_history else []


def _status(row: Row) -> str:
    text = "active, awaiting chain" if row["awaiting_chain"] else row["status"]
    return f"[{COLOURS.get(row['status'], 'default')}]{text}[/]"


def _list_row(row: Row) -> tuple[str, ...]:
    took = span(row["completed_at"] - row["started_at"]) if row["completed_at"] and row["started_at"] else ""
    note = row["error_message"] or row["data"].get("outcome") or row["data"].get("reason") or ""
    return (
        escape(row["job_id"]),
        _status(row),
        escape(row["wallet_address"] or ""),
        row["triggered_by"],
        f"{row['retry_count']}/{row['max_retries']}",
        age(row["created_at"]),
        took,
        f"[dim]{escape(str(note)[:80])}[/]",
    )


def _facts(row: Row) -> list[tuple[str, str]]:
    facts: list[tuple[str, Any]] = [
        ("type", row["job_type"]),
        ("wallet", f"{row['wallet_address']} on {row['chain']}" if row["wallet_address"] else None),
        ("triggered", f"by {row['triggered_by']}, priority {PRIORITIES.get(row['priority'], row['priority'])}"),
        ("created", _moment(row["created_at"])),
        ("runs at", _moment(row["run_at"]) if row["status"] in ("pending", "retrying") else None),
        ("started", _moment(row["started_at"])),
        ("finished", _moment(row["completed_at"])),
        ("failures", f"{row['retry_count']} of {row['max_retries']} attempts"),
        ("held by", f"worker {row['leased_by']} until {_moment(row['lease_deadline'])}" if row["leased_by"] else None),
        ("says", row["error_message"]),
        ("stands in", "job_history" if row["in_history"] else None),
    ]
    return [(name, escape(str(value))) for name, value in facts if value]


def _moment(moment: datetime | None) -> str:
    if moment is None:
        return ""
    when = moment.astimezone(UTC)
    ago = f"in {span(when - datetime.now(UTC))}" if when > datetime.now(UTC) else f"{age(when)} ago"
    return f"{when:%Y-%m-%d %H:%M:%S} UTC ({ago})"


def _print_transfers(attempts: list[dict[str, Any]]) -> None:
    shown = None
    for row in attempts:
        if row["transfer_id"] != shown:
            shown = row["transfer_id"]
            amount = f"{to_human(int(row['amount']), row['decimals'])} {row['symbol']}"
            out.print(
                f"transfer {shown} ({row['kind']}) {amount}: {row['from_address']} → {row['to_address']}  "
                f"[{COLOURS.get(row['state'], 'cyan')}]{row['state']}[/]"
            )
            if row["fee_paid"] is not None:
                fee = f"{to_human(int(row['fee_paid']), row['fee_decimals'])} {row['fee_symbol']}"
                out.print(f"  [dim]{'fee':<11}[/] {fee}")
            if row["error_message"]:
                out.print(f"  [dim]{'says':<11}[/] {escape(row['error_message'])}")
        if row["txid"] is not None:
            block = f", block {row['block_number']}" if row["block_number"] is not None else ""
            out.print(
                f"  attempt {row['attempt']} {row['txid']} {row['transaction_state']}"
                f" (sent {row['broadcast_count']}×{block})"
            )
            if row["last_result"]:
                out.print(f"    [dim]{escape(row['last_result'])}[/]")
