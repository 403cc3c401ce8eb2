"""``flagpost workers``: who works, and what they are told."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer
from psycopg import AsyncConnection
from rich.markup import escape

from pipeline.admin import targets, workers
from pipeline.admin.targets import WorkerTarget
from pipeline.admin.workers import ListedWorker, WorkerAction
from pipeline.cli.acting import AnywayOption, JsonOption, asked_twice, run_action
from pipeline.cli.output import OK, WARN, age, err, out, print_json, print_table, usage
from pipeline.cli.scale import print_numbers, scale, scaling
from pipeline.cli.scrape import scrape_targets
from pipeline.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Workers: list, pause, resume, stop, start, restart, scale.")

SlotsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[SLOT]…", help="Slots, as `flagpost workers list` prints them.")
]
HostOption = Annotated[str | None, typer.Option("--host", help="All workers on this host.")]
TypeOption = Annotated[str | None, typer.Option("--type", help="All workers of this type, e.g. gas-topup.")]
AllOption = Annotated[bool, typer.Option("--all", help="All workers.")]
WaitOption = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until they have obeyed, 10 s at the most.")]
COLOURS = {"running": "green", "paused": "yellow", "stopped": "dim", "error": "red"}


@app.command("list")
def list_workers(
    host: HostOption = None,
    worker_type: TypeOption = None,
    ended: Annotated[bool, typer.Option("--ended", help="Also those that ended in the last week.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Workers by their slots: what each does, what it was told, where it runs and how it is.

    A slot is chain-type-number, unique over all hosts; the chain is "all" where a worker serves every chain. What a
    slot is told holds for the next process in it, too.

    Example: [bold]flagpost workers list --type gas-topup[/]
    """

    async def read(connection: AsyncConnection[Any]) -> tuple[list[ListedWorker], list[WorkerTarget]]:
        await workers.refuse_unknown(connection, host=host, worker_type=worker_type)
        found = await workers.listed(connection, host=host, worker_type=worker_type, ended=ended)
        return found, await targets.listed(connection)

    found, wanted = run_action(Settings.load(), "workers list", read)
    if as_json:
        print_json({"workers": [_plain(worker) for worker in found], "targets": [asdict(target) for target in wanted]})
        return
    if not found:
        if host or worker_type:
            err.print("no such worker runs; those that ended: --ended")
        else:
            err.print("no worker runs; start them: honcho start, flagpost host, or flagpost up for a demonstration")
        return
    _print(found)
    if wanted:
        out.print()
        print_numbers(wanted)


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

    Example: [bold]flagpost workers pause all-gas-topup-001[/]
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

    Example: [bold]flagpost workers start all-gas-topup-001[/]
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


app.command("targets")(scrape_targets)
app.command()(scaling)
app.command()(scale)


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
            await workers.refuse_unknown(connection, host=host, worker_type=worker_type)
            found = await workers.listed(connection, host=host, worker_type=worker_type)
            chosen = [worker.slot for worker in found if _concerns(worker, action)]
        await workers.control(connection, chosen, action, anyway=anyway)
        if wait:
            return await workers.until_obeyed(connection, chosen)
        return await workers.listed(connection, slots=chosen, ended=True)

    def run(*, anyway: bool) -> list[ListedWorker]:
        return run_action(settings, f"workers {action}", lambda connection: tell(connection, anyway=anyway))

    found = asked_twice(lambda anyway: run(anyway=anyway), f"{action} it", anyway=anyway, as_json=as_json)
    if as_json:
        print_json({"workers": [_plain(worker) for worker in found]})
    elif not found:
        err.print("no worker is concerned; see: flagpost workers list --ended")
    else:
        for worker in found:
            _say(worker, action, waited=wait)
    if wait and not all(worker.obeys for worker in found):
        raise typer.Exit(1)


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
            f"{age(worker.last_heartbeat)} old. "
            + ("Where it hangs, the agent of its host ends it" if worker.managed_by else "It obeys once it is back")
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
                "" if worker.has_ended else str(worker.pid or ""),
                age(worker.last_heartbeat),
                "" if worker.has_ended or worker.held is None else str(worker.held),
                "" if worker.has_ended or worker.memory_bytes is None else f"{worker.memory_bytes / 1e6:.0f} MB",
                escape(" ".join((worker.last_error or "").split())[:100]),
            )
            for worker in found
        ],
        right=("pid", "heartbeat", "holds", "memory"),
    )


def _status(worker: ListedWorker) -> str:
    if worker.has_ended and worker.managed_by is None and worker.desired != "stopped":
        return "[dim]ended[/]"
    shown = f"[{COLOURS.get(worker.status, 'red')}]{worker.status}[/]"
    if not worker.has_process and worker.status in ("running", "paused"):
        shown = "[red]silent[/]"
    if worker.observed_generation is None and worker.has_process:
        return f"{shown} [dim](version before)[/]"
    somebody_obeys = worker.has_process or worker.managed_by is not None
    return f"{shown} [yellow]→ {worker.desired}[/]" if somebody_obeys and not worker.obeys else shown


def _plain(worker: ListedWorker) -> dict[str, Any]:
    return {**asdict(worker), "obeys": worker.obeys, "has_ended": worker.has_ended}
