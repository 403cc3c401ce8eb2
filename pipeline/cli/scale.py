"""``flagpost workers scale`` and ``scaling``: how many workers there shall be, said by people and by the load."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape

from pipeline.admin import targets, workers
from pipeline.admin.targets import Scaled, WorkerTarget
from pipeline.cli.acting import AnywayOption, JsonOption, asked_twice, run_action
from pipeline.cli.output import NOTE, OK, WARN, age, err, out, print_json, print_table, usage
from pipeline.settings import Settings


def scaling(as_json: JsonOption = False) -> None:
    """What auto-scaling would do now, and why. Switch it on: flagpost config set scaling.engine agent

    Example: [bold]flagpost workers scaling[/]
    """
    found = run_action(Settings.load(), "workers scaling", workers.scaling_decisions)
    if as_json:
        print_json([asdict(decision) for decision in found])
        return
    if not found:
        err.print("no worker of a type that scales (gas-topup, consolidation) runs or is wanted")
        return
    if found[0].engine == "off":
        err.print("auto-scaling is off (scaling.engine): this is what it would do")
    print_table(
        ("type", "chains", "due jobs", "workers", "wanted", "why"),
        [
            (
                escape(one.type),
                escape(one.blockchain) or "all",
                str(one.depth),
                str(one.workers),
                str(one.wanted),
                escape(one.reason),
            )
            for one in found
        ],
        right=("due jobs", "workers", "wanted"),
    )


def scale(
    worker_type: Annotated[str | None, typer.Argument(metavar="[TYPE]", help="E.g. gas-topup.")] = None,
    number: Annotated[int | None, typer.Argument(metavar="[N]", help="How many there shall be, from 0 to 200.")] = None,
    chains: Annotated[
        list[str] | None,
        typer.Option("--chain", help="Those limited to this chain (may be repeated); default: those that serve all."),
    ] = None,
    host: Annotated[str, typer.Option("--host", help="On this host; default: over all hosts.")] = "",
    reset: Annotated[bool, typer.Option("--reset", help="One on each host again.")] = False,
    anyway: AnywayOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say how many workers of a type there shall be, over all hosts or on one; without TYPE list what was said.

    The agents of hosts (flagpost host) start and end them, divided evenly over the hosts whose Procfile has such a
    line. A host with a number of its own does not share. Without a number there is one on each host.

    Example: [bold]flagpost workers scale gas-topup 4 --chain tron[/]
    """
    settings = Settings.load()
    if worker_type is None:
        found = run_action(settings, "workers scale", targets.listed)
        print_json({"targets": [asdict(target) for target in found]}) if as_json else print_numbers(found)
        return
    if (number is None) is not reset:
        raise usage("how many? say a number, or --reset for one on each host", "flagpost workers scale gas-topup 4")
    of = targets.Scale(worker_type, ",".join(chains or []), host)
    done = asked_twice(
        lambda anyway: run_action(
            settings, "workers scale", lambda connection: targets.scale(connection, of, number, anyway=anyway)
        ),
        "scale them",
        anyway=anyway,
        as_json=as_json,
    )
    if as_json:
        print_json(asdict(done))
    else:
        _say(done)


def _say(done: Scaled) -> None:
    of = escape(done.type) + _of_chains(done.blockchain)
    where = f"on {escape(done.host)}" if done.host else "over all hosts"
    if done.workers is None and done.before is None:
        out.print(f"{NOTE} {of}: there was no number {where}, and nothing was changed")
    else:
        shown = "no number any more" if done.workers is None else str(done.workers)
        out.print(f"{OK} {of}: {shown}, {where}")
    if not done.host_is_known:
        err.print(
            f"{WARN} no worker of host {escape(done.host)} is known (see: flagpost workers list --ended); "
            f"it holds once such an agent is started: flagpost host --name {escape(done.host)}"
        )
    elif not done.agents:
        err.print(f"{WARN} no agent runs such a worker now; start one where its line stands: flagpost host")


def print_numbers(found: Sequence[WorkerTarget]) -> None:
    """The numbers that were said, and how many there are."""
    if not found:
        err.print("no number was said: each host has one of what its Procfile starts")
        return
    print_table(
        ("workers", "host", "wanted", "alive", "said by", "since"),
        [
            (
                f"{escape(target.type)}{_of_chains(target.blockchain)}",
                escape(target.host) or "[dim]all[/]",
                str(target.workers),
                str(target.alive) if target.alive == target.workers else f"[yellow]{target.alive}[/]",
                target.set_by,
                age(target.set_at),
            )
            for target in found
        ],
        right=("wanted", "alive", "since"),
    )


def _of_chains(blockchain: str) -> str:
    return f" of {escape(blockchain)}" if blockchain else ""
