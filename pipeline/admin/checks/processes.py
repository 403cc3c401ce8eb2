"""Doctor's questions about processes that the list of those which run does not answer."""

from pipeline.admin.checks.check import Check
from pipeline.admin.checks.findings import Level

CHECKS = (
    Check(
        "processes.heartbeats",
        right="no heartbeat lies in the future",
        statement="processes_ahead",
        says="the last heartbeat of {name} is of {last_heartbeat}, {ahead} from now: it counts as alive until then",
        cure="a clock was wrong: start sweep, which corrects it",
    ),
    Check(
        "processes.troubles",
        right="no process reports an error",
        statement="processes_troubles",
        says="{names}{more}: {last_error}",
        cure="do what it says; it is cleared by itself, an unexpected error by a restart",
        level=Level.WARN,
    ),
    Check(
        "processes.alerts",
        right="messages of alerts arrive",
        statement="alert_deliveries",
        says="{messages} messages of alerts did not arrive by {channel}, the oldest for {since}; one says: {error}",
        cure="where sweep runs: flagpost alerts test; correct the variable of that channel there",
        level=Level.WARN,
    ),
)
