"""``flagpost alerts``: what is wrong now, who looks after it, what is held back, and whether messages arrive."""

import asyncio
from dataclasses import asdict
from datetime import datetime
from typing import Annotated

import typer
from rich.markup import escape

from pipeline.admin import alerts
from pipeline.alerts.channels import configured, missing
from pipeline.cli.acting import JsonOption, run_action
from pipeline.cli.lengths import length
from pipeline.cli.output import BAD, OK, CommandError, age, err, out, print_json, print_table
from pipeline.settings import Settings

MOST_LISTED = 10_000

app = typer.Typer(no_args_is_help=True, help="Alerts: list, show, ack, silence, unsilence, silences, test.")

AlertArgument = Annotated[str, typer.Argument(help="Its id, as `flagpost alerts list` prints it.", metavar="ID")]
COLOURS = {"critical": "red", "warning": "yellow"}


@app.command("list")
def list_alerts(
    everything: Annotated[bool, typer.Option("--all", help="Those that are over, too; kept for 90 days.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=MOST_LISTED, help="At most so many.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """Alerts that are open, critical ones first, each with what to do.

    Example: [bold]flagpost alerts list --all[/]
    """
    found = run_action(
        Settings.load(),
        "alerts list",
        lambda connection: alerts.alerts(connection, resolved=everything, limit=limit),
    )
    if as_json:
        print_json([asdict(one) for one in found])
        return
    if not found:
        err.print("no alert is open")
    for one in found:
        out.print(
            f"[{COLOURS[one.severity]}]{one.severity:<8}[/] {escape(one.summary)}  "
            f"[dim]{one.rule}, for {age(one.raised_at)}{escape(_state(one))}[/]"
        )
        if one.resolved_at is None:
            out.print(f"  [dim]→[/] {escape(one.action)}")
        out.print(f"  [dim]{one.id}[/]")


@app.command()
def show(alert: AlertArgument, as_json: JsonOption = False) -> None:
    """One alert, and what was sent of it to whom.

    Example: [bold]flagpost alerts show 0198c5a2-7e7b-7f5e-9d3b-3f0d4c1f9a10[/]
    """
    one, sent = run_action(Settings.load(), "alerts show", lambda connection: alerts.show(connection, alert))
    if as_json:
        print_json({**asdict(one), "deliveries": [asdict(delivery) for delivery in sent]})
        return
    facts = [
        ("alert", f"{one.id}, {one.severity}{_state(one)}"),
        ("rule", one.rule + (f", of {one.subject}" if one.subject else "")),
        ("wrong", one.summary),
        ("to do", one.action),
        ("value", "" if one.value is None else f"{one.value:f}"),
        ("raised", f"{_moment(one.raised_at)}, found {one.count} times, the last time {age(one.last_seen_at)} ago"),
        ("over", "" if one.resolved_at is None else _moment(one.resolved_at)),
        ("known to", f"{one.acknowledged_by}, {_moment(one.acknowledged_at)}" if one.acknowledged_at else ""),
    ]
    for name, fact in facts:
        if fact:
            out.print(f"[dim]{name:<9}[/] {escape(fact)}")
    if sent:
        print_table(
            ("sent by", "event", "state", "attempts", "written", "says"),
            [
                (
                    delivery.channel,
                    delivery.event,
                    delivery.state,
                    str(delivery.attempts),
                    f"{age(delivery.created_at)} ago",
                    f"[dim]{escape(delivery.last_error or '')}[/]",
                )
                for delivery in sent
            ],
            right=("attempts",),
        )


@app.command()
def ack(alert: AlertArgument, as_json: JsonOption = False) -> None:
    """Acknowledge an alert: you look after it, and nobody is reminded any more. It is over when its rule says so.

    Example: [bold]flagpost alerts ack 0198c5a2-7e7b-7f5e-9d3b-3f0d4c1f9a10[/]
    """
    rule, subject = run_action(Settings.load(), "alerts ack", lambda connection: alerts.acknowledge(connection, alert))
    if as_json:
        print_json({"id": alert, "rule": rule, "subject": subject})
    else:
        out.print(f"{escape(' '.join((rule, subject)).strip())} is acknowledged: no more reminders")


@app.command()
def silence(
    rule: Annotated[str, typer.Argument(help="The rule, or a pattern: workers.stuck, workers.*, *.")],
    for_length: Annotated[str, typer.Option("--for", help="How long: 30min, 2h, 7d.")],
    reason: Annotated[str, typer.Option(help="Why, for whoever wonders.")],
    subject: Annotated[str, typer.Option(help="Only of this subject, or a pattern: tron, bsc*.")] = "*",
    as_json: JsonOption = False,
) -> None:
    """Hold back messages of alerts for a time. They are raised and listed all the same, and what is open afterwards is
    sent then.

    Example: [bold]flagpost alerts silence 'workers.*' --for 2h --reason 'we move hosts'[/]
    """
    made, until = run_action(
        Settings.load(),
        "alerts silence",
        lambda connection: alerts.silence(connection, rule, length(for_length, "--for"), reason, subject=subject),
    )
    if as_json:
        print_json({"id": made, "rule": rule, "subject": subject, "until": until, "reason": reason})
    else:
        out.print(f"silent until {_moment(until)}; to end it before: flagpost alerts unsilence {made}")


@app.command()
def unsilence(
    silence_id: Annotated[str, typer.Argument(help="Its id, as `flagpost alerts silences` prints it.", metavar="ID")],
    as_json: JsonOption = False,
) -> None:
    """End a silence now. What it held back and is still open is sent.

    Example: [bold]flagpost alerts unsilence 0198c5a2-7e7b-7f5e-9d3b-3f0d4c1f9a10[/]
    """
    rule, subject = run_action(
        Settings.load(), "alerts unsilence", lambda connection: alerts.end_silence(connection, silence_id)
    )
    if as_json:
        print_json({"id": silence_id, "rule": rule, "subject": subject})
    else:
        out.print(f"alerts of {escape(rule)}, of {escape(subject)}, are sent again")


@app.command()
def silences(as_json: JsonOption = False) -> None:
    """Silences that are in force.

    Example: [bold]flagpost alerts silences[/]
    """
    found = run_action(Settings.load(), "alerts silences", alerts.silences)
    if as_json:
        print_json([asdict(one) for one in found])
        return
    if not found:
        err.print("nothing is silenced")
        return
    print_table(
        ("id", "rule", "subject", "until", "by", "reason"),
        [
            (str(one.id), escape(one.rule), escape(one.subject), _moment(one.until), escape(one.silenced_by),
             escape(one.reason))
            for one in found
        ],
    )  # fmt: skip


@app.command("test")
def send_test(as_json: JsonOption = False) -> None:
    """Send a test message by each channel that the environment here names, now. Exit code 1 if one did not arrive.

    The sweep sends by the environment of its own host: run this there.

    Example: [bold]flagpost alerts test[/]
    """
    settings = Settings.load()
    channels = configured(settings)
    if lack := missing(settings):
        err.print(lack)
    if not channels:
        raise CommandError(
            "no channel is configured here",
            "set FLAGPOST_ALERT_WEBHOOK, FLAGPOST_ALERT_SLACK, or FLAGPOST_ALERT_MAIL_TO and FLAGPOST_SMTP_URL",
        )
    outcome = asyncio.run(alerts.send_test(channels))
    if as_json:
        print_json([{"channel": name, "arrived": error is None, "error": error} for name, error in outcome.items()])
    else:
        for name, error in outcome.items():
            out.print(f"{OK} {name}: sent" if error is None else f"{BAD} {name}: {escape(error)}")
    if any(error is not None for error in outcome.values()):
        raise typer.Exit(1)


def _state(one: alerts.Alert) -> str:
    if one.resolved_at is not None:
        return f", over since {age(one.resolved_at)}"
    return (", acknowledged" if one.acknowledged_at else "") + (", silenced" if one.silenced else "")


def _moment(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S %Z}"
