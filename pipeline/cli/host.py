"""``flagpost host``: the agent of a host."""

import contextlib
import os
import socket
from pathlib import Path
from typing import Annotated

import typer

from pipeline.admin.errors import DatabaseUnavailable, NotPermitted
from pipeline.admin.hosts import refuse_second_agent
from pipeline.cli.acting import run_action
from pipeline.cli.output import CommandError, usage
from pipeline.embedded.cluster import with_database
from pipeline.scaling.agent import GRACE_SECONDS, HostAgent
from pipeline.scaling.lines import WORKER_TYPES, read_lines
from pipeline.scaling.output import Output
from pipeline.settings import LogColour, Settings
from pipeline.workers.procfile import procfile_commands, procfile_path
from pipeline.workers.serve import serve


def host(
    procfile: Annotated[
        Path | None,
        typer.Option(
            "--procfile", metavar="FILE", help="What this host may run; default: Procfile, here or of the project."
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="HOST", help="This host's name; default: FLAGPOST_HOST, or the machine's."),
    ] = None,
    only: Annotated[
        str, typer.Option("--only", metavar="TYPE,…", help="Only workers of these types, e.g. sync,confirmations.")
    ] = "",
) -> None:
    """Run the workers of this host, and keep them running: one agent a host, in place of Honcho.

    It starts what stands in the Procfile and nothing else: one of each worker on each host, or as many as
    [bold]flagpost workers scale[/] says over all hosts. Processes that end are started again; one that ends five times
    right after its start is given up until [bold]flagpost workers start[/]. A host that is gone is replaced by the
    others within seconds. Ctrl-C or SIGTERM ends the processes, which hand back what they hold.

    To take a host out of service: [bold]flagpost workers stop all-host-001[/], its agent's slot in
    [bold]flagpost workers list[/]; and [bold]flagpost workers start[/] to have it back.

    Example: [bold]flagpost host --name worker-2 --only sync,gas-topup[/]
    """
    settings = Settings.load()
    if settings.managed_by is not None:
        raise CommandError(
            f"this process was started by the agent of host {settings.managed_by}, and an agent runs no agent",
            "run flagpost host by systemd, by a container or by Honcho, and name a Procfile that has workers only",
        )
    types = {part.strip() for part in only.split(",") if part.strip()}
    if unknown := sorted(types - WORKER_TYPES):
        raise usage(f"--only: no type of worker: {', '.join(unknown)}", f"there are {', '.join(sorted(WORKER_TYPES))}")
    workers, others = read_lines(procfile_commands(procfile or procfile_path()), types)
    settings = with_database(settings).model_copy(update={"host": name or settings.host or socket.gethostname()})
    # As long as the database is away the agent waits for it, and is refused then where there is another one.
    with contextlib.suppress(DatabaseUnavailable, NotPermitted):
        run_action(settings, "host", lambda connection: refuse_second_agent(connection, settings.host, os.getpid()))
    output = Output(as_json=settings.log_json)
    colours = output.coloured and settings.log_colour is LogColour.AUTO
    agent = HostAgent(workers, others, output, {"FLAGPOST_LOG_COLOUR": LogColour.ALWAYS.value} if colours else {})
    if code := serve(settings, agent, grace_seconds=GRACE_SECONDS):
        raise typer.Exit(code)
