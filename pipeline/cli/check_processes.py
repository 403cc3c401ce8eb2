"""Doctor's questions about processes that the list of those which run does not answer."""

from pipeline.cli.checks import Check

CHECKS = (
    Check(
        "processes.heartbeats",
        right="no heartbeat lies in the future",
        statement="processes_ahead",
        says="{name} said that it lives at {last_heartbeat}, {ahead} from now: it counts as alive until then",
        cure="a clock was wrong: UPDATE worker_registry SET last_heartbeat = now() WHERE name = '{name}'",
    ),
)
