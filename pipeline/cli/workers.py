"""``flagpost workers``: who works, and what they are told."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Annotated, Any, TypeVar

import typer
from psycopg import AsyncConnection
from rich.markup import escape

from pipeline.admin import targets, workers
from pipeline.admin.errors import NeedsAnotherWord
from pipeline.admin.targets import WorkerTarget
from pipeline.admin.workers import ListedWorker, WorkerAction
from pipeline.cli.acting import JsonOption, run_action
from pipeline.cli.output import OK, WARN, CommandError, age, err, out, print_json, print_table, usage
from pipeline.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Workers: list, pause, resume, stop, start, restart, scale.")

SlotsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[SLOT]…", help="Slots, as `flagpost workers list` prints them.")
]
HostOption = Annotated[str | None, typer.Option("--host", help="All workers on this host.")]
TypeOption = Annotated[str | None, typer.Option("--type", help="All workers of this type, e.g. gas-topup.")]
AllOption = Annotated[bool, typer.Option("--all", help="All workers.")]
WaitOption = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until they have obeyed, 10 s at the most.")]
AnywayOption = Annotated[
    bool, typer.Option("--anyway", help="Also the last worker that follows payments which are out.")
]

T = TypeVar("T")

COLOURS = {"running": "green", "paused": "yellow", "stopped": "dim", "error": "red"}


@app.command("list")
def list_workers(
    host: HostOption = None,
    worker_type: TypeOption = None,
    ended: Annotated[bool, typer.Option("--ended", help="Also those that ended in the last week.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Workers by their slots: what each does, what it was told, where it runs and how it is.

    A slot is chain-type-number, unique over all hosts. What a slot is told holds for the next process in it, too.

    Example: [bold]flagpost workers list --type gas-topup[/]
    """

    async def read(connection: AsyncConnection[Any]) -> tuple[list[ListedWorker], list[WorkerTarget]]:
        found = await workers.listed(connection, host=host, worker_type=worker_type, ended=ended)
        return found, await targets.listed(connection)

    found, wanted = run_action(Settings.load(), "workers list", read)
    if as_json:
        print_json({"workers": [_plain(worker) for worker in found], "targets": [asdict(target) for target in wanted]})
        return
    if not found:
        err.print("no worker runs; start them: honcho start, flagpost host, or flagpost up for a demonstration")
        return
    _print(found)
    if wanted:
        out.print()
        _print_targets(wanted)


@app.command()
def pause(
    slots: SlotsArgument = None,
    host: HostOption = None,
    worker_type: TypeOption = None,
    everybody: AllOption = False,
    wait: WaitOption = True,
    anyway: AnywayOption = False,
    as_json: JsonOption = False,
) -> None:
    """Let workers claim nothing new; they finish what they hold. The whole system: flagpost config set paused true.

    Example: [bold]flagpost workers pause tron-gas-topup-001[/]
    """
    _control(WorkerAction.PAUSE, slots, host, worker_type, everybody, wait=wait, anyway=anyway, as_json=as_json)


@app.command()
def resume(
    slots: SlotsArgument = None,
    host: HostOption = None,
    worker_type: TypeOption = None,
    everybody: AllOption = False,
    wait: WaitOption = True,
    as_json: JsonOption = False,
) -> None:
    """Let paused workers go on.

    Example: [bold]flagpost workers resume --all[/]
    """
    _control(WorkerAction.RESUME, slots, host, worker_type, everybody, wait=wait, as_json=as_json)


@app.command()
def stop(
    slots: SlotsArgument = None,
    host: HostOption = None,
    worker_type: TypeOption = None,
    everybody: AllOption = False,
    wait: WaitOption = True,
    anyway: AnywayOption = False,
    as_json: JsonOption = False,
) -> None:
    """Let workers hand back what they hold and work no more, until they are started again.

    Under flagpost host the process ends; elsewhere it waits, so that it can be started from here. The slot of an agent
    stops all that its host runs.

    Example: [bold]flagpost workers stop --host worker-2[/]
    """
    _control(WorkerAction.STOP, slots, host, worker_type, everybody, wait=wait, anyway=anyway, as_json=as_json)


@app.command()
def start(
    slots: SlotsArgument = None,
    host: HostOption = None,
    worker_type: TypeOption = None,
    everybody: AllOption = False,
    wait: WaitOption = True,
    as_json: JsonOption = False,
) -> None:
    """Start workers that were stopped, paused, or given up after they ended again and again.

    Example: [bold]flagpost workers start tron-gas-topup-001[/]
    """
    _control(WorkerAction.START, slots, host, worker_type, everybody, wait=wait, as_json=as_json)


@app.command()
def restart(
    slots: SlotsArgument = None,
    host: HostOption = None,
    worker_type: TypeOption = None,
    everybody: AllOption = False,
    wait: WaitOption = True,
    as_json: JsonOption = False,
) -> None:
    """Let workers hand back what they hold and begin anew, in the same slot.

    Example: [bold]flagpost workers restart --type sync[/]
    """
    _control(WorkerAction.RESTART, slots, host, worker_type, everybody, wait=wait, as_json=as_json)


@app.command("targets")
def prometheus_targets() -> None:
    """Where live workers serve their metrics, as Prometheus reads it from a file (file_sd_configs).

    Write it anew now and then, in a timer: to another file first, so that half a file is never read.

    Example: [bold]flagpost workers targets > flagpost-targets.json[/]
    """
    found = run_action(Settings.load(), "workers targets", workers.listed)
    print_json(
        [
            {"targets": [f"{worker.host}:{worker.port}"]}  # no labels: flagpost_worker_info has them, and ports move
            for worker in found
            if worker.has_process and worker.host and worker.port
        ]
    )


@app.command()
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


@app.command()
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
        print_json({"targets": [asdict(target) for target in found]}) if as_json else _print_targets(found)
        return
    if (number is None) is not reset:
        raise usage("how many? say a number, or --reset for one on each host", "flagpost workers scale gas-topup 4")
    of = targets.Scale(worker_type, ",".join(chains or []), host)
    done = _asked_twice(
        lambda anyway: run_action(
            settings, "workers scale", lambda connection: targets.scale(connection, of, number, anyway=anyway)
        ),
        "scale them",
        anyway=anyway,
        as_json=as_json,
    )
    if as_json:
        print_json(asdict(done))
        return
    where = f"on {escape(done.host)}" if done.host else "over all hosts"
    shown = "no number any more" if done.workers is None else str(done.workers)
    out.print(f"{OK} {escape(done.type)}{_of_chains(done.blockchain)}: {shown}, {where}")
    if not done.agents:
        err.print(f"{WARN} no agent runs such a worker now; start one where its line stands: flagpost host")


def _control(
    action: WorkerAction,
    slots: Sequence[str] | None,
    host: str | None,
    worker_type: str | None,
    everybody: bool,
    *,
    wait: bool,
    as_json: bool,
    anyway: bool = False,
) -> None:
    if not (slots or host or worker_type or everybody):
        raise usage("which workers? name slots, or say --host, --type or --all", "see: flagpost workers list")
    if slots and (host or worker_type or everybody):
        raise usage("name slots, or say --host, --type or --all, not both")
    settings = Settings.load()

    async def tell(connection: AsyncConnection[Any], *, anyway: bool) -> list[ListedWorker]:
        chosen = list(slots or [])
        if not chosen:
            found = await workers.listed(connection, host=host, worker_type=worker_type)
            chosen = [worker.slot for worker in found if _concerns(worker, action)]
        await workers.control(connection, chosen, action, anyway=anyway)
        if wait:
            return await workers.until_obeyed(connection, chosen)
        return await workers.listed(connection, slots=chosen, ended=True)

    def run(*, anyway: bool) -> list[ListedWorker]:
        return run_action(settings, f"workers {action}", lambda connection: tell(connection, anyway=anyway))

    found = _asked_twice(lambda anyway: run(anyway=anyway), f"{action} it", anyway=anyway, as_json=as_json)
    if as_json:
        print_json({"workers": [_plain(worker) for worker in found]})
    elif not found:
        err.print("no worker is concerned; see: flagpost workers list --ended")
    else:
        for worker in found:
            _say(worker, action, waited=wait)
    if wait and not all(worker.obeys for worker in found):
        raise typer.Exit(1)


def _asked_twice(run: Callable[[bool], T], what: str, *, anyway: bool, as_json: bool) -> T:
    """What ``run`` gives; where that needs another word, once a person has said it."""
    try:
        return run(anyway)
    except NeedsAnotherWord as refused:
        if as_json or not sys.stdin.isatty():
            raise CommandError(refused.message, f"{refused.hint}; to do it all the same: --anyway") from None
        err.print(f"{WARN} {escape(refused.message)}. {escape(refused.hint)}")
        if not typer.confirm(f"{what} all the same?", err=True):
            raise typer.Exit(1) from None
        return run(True)


def _print_targets(found: Sequence[WorkerTarget]) -> None:
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


def _concerns(worker: ListedWorker, action: WorkerAction) -> bool:
    """Whether a command to many is meant for this one, too: what does not run is not paused, and agents are told by
    their slots alone."""
    if worker.type == "host":
        return False
    match action:
        case WorkerAction.START:
            return worker.desired != "running" or worker.status == "error"
        case WorkerAction.RESUME:
            return worker.desired == "paused"
        case WorkerAction.PAUSE:
            return worker.has_process and worker.desired == "running"
    return worker.desired != "stopped" and (worker.has_process or worker.managed_by is not None)


def _say(worker: ListedWorker, action: WorkerAction, *, waited: bool) -> None:
    slot = escape(worker.slot)
    if worker.obeys:
        out.print(f"{OK} {slot}: {worker.status}")
    elif waited:
        out.print(
            f"{WARN} {slot}: told to {action}, and has not obeyed; its last heartbeat is "
            f"{age(worker.last_heartbeat)} old. It obeys once it is back"
        )
    else:
        out.print(f"{OK} {slot}: told to {action}")


def _print(found: Sequence[ListedWorker]) -> None:
    print_table(
        ("slot", "status", "host", "pid", "heartbeat", "holds", "memory", "last error"),
        [
            (
                escape(worker.slot),
                _status(worker),
                escape(worker.host or "") + (" [dim](agent)[/]" if worker.managed_by else ""),
                str(worker.pid or ""),
                age(worker.last_heartbeat),
                "" if worker.held is None else str(worker.held),
                "" if worker.memory_bytes is None else f"{worker.memory_bytes / 1e6:.0f} MB",
                escape(" ".join((worker.last_error or "").split())[:100]),
            )
            for worker in found
        ],
        right=("pid", "heartbeat", "holds", "memory"),
    )


def _status(worker: ListedWorker) -> str:
    shown = f"[{COLOURS.get(worker.status, 'red')}]{worker.status}[/]"
    if not worker.has_process and worker.status in ("running", "paused"):
        shown = "[red]silent[/]"
    if worker.observed_generation is None and worker.has_process:
        return f"{shown} [dim](version before)[/]"
    return shown if worker.obeys else f"{shown} [yellow]→ {worker.desired}[/]"


def _plain(worker: ListedWorker) -> dict[str, Any]:
    return {**asdict(worker), "obeys": worker.obeys}
