"""Doctor's questions about the queue: which jobs do not run, and why."""

from collections.abc import Iterator
from datetime import UTC, datetime

from pipeline.admin.checks.check import Check, Examination, Trouble
from pipeline.admin.checks.findings import Level
from pipeline.alerts.rules import FLAGS_WITHOUT_JOB, JOBS_DUE
from pipeline.log import span


def _live(examination: Examination) -> Iterator[Trouble]:
    """What waits, and the reason one gives. Nothing is wrong with it by itself."""
    for row in examination.rows("queue"):
        text = f"{row['job_type']}: {row['due']} due, {row['later']} later, {row['active']} active"
        if row["newest_error"]:
            oldest = f" (the oldest for {span(datetime.now(UTC) - row['oldest_due'])})" if row["oldest_due"] else ""
            text += f"{oldest}: {row['newest_error']}"
        yield Trouble(text, Level.NOTE)


CHECKS = (
    Check("queue", right="no job waits", ask=_live, cure="nothing: this lists what waits", level=Level.NOTE),
    Check(
        "queue.due",
        right="no job has been due for 5 minutes",
        statement="queue_due",
        says=JOBS_DUE.says,
        cure="{start}; its log and worker_registry.last_error say what it waits for",
    ),
    Check(
        "queue.waiting",
        right="no job has been put off for an hour",
        statement="queue_waiting",
        says="{chain}: {jobs} {job_type} jobs have been put off for {since}; one says: {reason}",
        cure="do what it waits for; they go on by themselves then, and use up no attempt meanwhile",
    ),
    Check(
        "queue.flags",
        right="every flag older than two sweeps has a job",
        statement="queue_flags",
        says=FLAGS_WITHOUT_JOB.says,
        cure="start {job_type} and sweep",
    ),
    Check(
        "queue.unserved",
        right="every waiting job has a process that runs it",
        statement="queue_unserved",
        says="{job_type}: {jobs} wait; no process of this version runs such jobs",
        cure="cancel them: flagpost jobs cancel JOB",
        level=Level.WARN,
    ),
    Check(
        "queue.dead_letters",
        right="no job has failed within a day",
        statement="queue_dead_letters",
        says="{job_type}: {failed} of {ended} jobs failed within a day ({percent} %); the newest says: {newest_error}",
        cure="see: flagpost jobs list --status failed --type {job_type}; "
        "once the cause is mended: flagpost jobs retry-failed --type {job_type}",
        level=Level.WARN,
    ),
    Check(
        "queue.wallets",
        right="every waiting job knows its wallet",
        statement="queue_wallets",
        says="{jobs} waiting jobs have no wallet or no chain, and nobody can take them: {examples}",
        cure="start sweep, which completes or ends them; rows were inserted while triggers did not fire",
    ),
    Check(
        "queue.times",
        right="no job waits longer than a backoff is long",
        statement="queue_times",
        says="{job_type}: {jobs} jobs are due until {latest}, {why}: {examples}",
        cure="start sweep, which corrects times of a wrong clock; one that a person wrote: flagpost jobs cancel JOB",
    ),
    Check(
        "queue.leases",
        right="every attempt is rescued in time",
        statement="queue_leases",
        says="{jobs} attempts {why} ({earliest} to {latest}): {examples}",
        cure="see that any of gas-topup, consolidation, confirmations runs, and sweep, which corrects a deadline that "
        "a wrong clock wrote",
    ),
    Check(
        "queue.stranded",
        right="every job that waits for the chain has a payment out",
        statement="queue_stranded",
        says="{jobs} jobs wait for the chain with no payment out, and nobody ends them: {examples}",
        cure="start confirmations, which gives them back to the queue",
    ),
    Check(
        "queue.ended_payments",
        right="no unsent payment is left of a job that has ended",
        statement="queue_ended_payments",
        says="{chain}: {payments} payments never left though their jobs have ended: "
        "their wallets get no further job: {examples}",
        cure="start confirmations, which gives them up; see that triggers fire (triggers)",
    ),
)
