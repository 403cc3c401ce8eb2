"""Doctor's questions about who holds what: locks, leaderships, the notification queue, and who may connect."""

from pipeline.admin.checks.check import Check
from pipeline.admin.checks.findings import Findings, Level
from pipeline.admin.session import Connection
from pipeline.db.notification_queue import described
from pipeline.db.statements import statement
from pipeline.log import span

CHECKS = (
    Check(
        "database.rights",
        right="nobody but our roles has rights on our tables, sequences and functions",
        cure="flagpost migrate, or REVOKE ALL ON … FROM …",
    ),
    Check(
        "database.connect",
        right="only logins that work here may connect",
        cure="flagpost migrate as the owner of the database",
        level=Level.WARN,
    ),
    Check(
        "database.notifications",
        right="the notification queue is empty",
        cure="end the session that LISTENs inside a transaction",
        level=Level.WARN,
    ),
    Check(
        "locks.foreign",
        right="no other session holds our advisory locks",
        cure="SELECT pg_terminate_backend(PID)",
        level=Level.WARN,
    ),
    Check("locks.blocked", right="no session waits for a lock", cure="SELECT pg_terminate_backend(PID)"),
    Check(
        "leaders",
        right="a sweep runs, and each chain has a confirmation worker",
        cure="flagpost sweep, flagpost confirmations",
    ),
)
"""What the functions of this module ask."""
USAGE_WARNING = 0.1
"""Share of the notification queue from which on doctor warns; NOTIFY is suppressed at a half."""
BLOCKED_SECONDS = 5.0
"""How long a session may wait for a lock: a commit takes milliseconds."""


def check_foreign_locks(found: Findings, connection: Connection) -> None:
    """Nobody else holds locks of ours."""
    foreign = connection.execute(statement("doctor/foreign_locks")).fetchall()
    for row in foreign:
        found.warn(
            "locks.foreign",
            f"session {row['pid']} (user {row['user']}, application {row['application'] or 'unknown'}) {row['what']}",
            f"end it: SELECT pg_terminate_backend({row['pid']}); and see who may connect (database.connect)",
        )
    if not foreign:
        found.ok("locks.foreign", "no other session holds our advisory locks")


def check_blocked(found: Findings, connection: Connection) -> None:
    """None of our sessions waits for a lock for long."""
    blocked = connection.execute(statement("doctor/blocked"), {"longer_than_seconds": BLOCKED_SECONDS}).fetchall()
    for row in blocked:
        found.fail(
            "locks.blocked",
            f"session {row['pid']} ({row['application']}) has waited {span(row['waited'])} for a lock of session "
            f"{row['blocker']} (user {row['blocker_user']}, application {row['blocker_application'] or 'unknown'})",
            f"if that session hangs, end it: SELECT pg_terminate_backend({row['blocker']})",
        )
    if not blocked:
        found.ok("locks.blocked", "no session waits for a lock")


def check_leaders(found: Findings, connection: Connection) -> None:
    """Somebody sweeps, and somebody settles each chain."""
    for row in connection.execute(statement("doctor/without_leader")):
        last = f" (last: {row['last_holder']})" if row["last_holder"] else ""
        found.fail(
            "leaders",
            f"nobody has led {row['name']} since {row['since']:%Y-%m-%d %H:%M:%S}{last}: its work is not done",
            row["start"],
        )


def check_notification_queue(found: Findings, connection: Connection) -> None:
    """The queue of NOTIFY is freed: a session that listens in a transaction fills it for the whole server."""
    rows = connection.execute(statement("doctor/notification_queue")).fetchall()
    share, suppressed = rows[0]["share"], rows[0]["suppressed"]
    if share <= USAGE_WARNING:
        return
    suspects = [
        (row["pid"], row["usename"], row["datname"], row["application_name"], row["since"])
        for row in rows
        if row["pid"] is not None
    ]
    said = f"the notification queue is {share:.0%} full"
    if suppressed:
        found.fail("database.notifications", f"{said}: NOTIFY is suppressed, listeners poll", described(suspects))
    else:
        found.warn("database.notifications", said, described(suspects))


def check_connect(found: Findings, connection: Connection) -> None:
    """Not everybody who has a login on the server may connect."""
    row = connection.execute(statement("doctor/connect")).fetchone()
    if row is not None and row["is_open"]:
        found.warn(
            "database.connect",
            f"everybody who has a login on this server may connect to {row['database']}, take locks and fill queues",
            "run `flagpost migrate` as the owner of the database: it leaves CONNECT to who works here and takes it "
            "from PUBLIC",
        )


def check_rights(found: Findings, connection: Connection) -> None:
    """Nobody but the owner and our roles has rights on our tables, sequences and functions."""
    rows = connection.execute(statement("doctor/rights_of_others")).fetchall()
    for row in rows:
        more = f" and {row['objects'] - 1} more" if row["objects"] > 1 else ""
        said = f"{row['grantee']} has {', '.join(row['privileges'])} on {row['example']}{more}"
        if row["grantee"] == "service_role":
            found.note("database.rights", f"{said}: whoever has that key acts as an administrator")
        elif row["reads_only"]:
            found.warn(
                "database.rights", said, "if that is not meant: REVOKE it, or make it a member of pipeline_readonly"
            )
        else:
            found.fail(
                "database.rights",
                said,
                "run `flagpost migrate` for PUBLIC, anon and authenticated; for others REVOKE ALL ON … FROM …, "
                "or make it a member of the role whose rights it needs",
            )
    if not rows:
        found.ok("database.rights", "nobody but our roles has rights on our tables, sequences and functions")
