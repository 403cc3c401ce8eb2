"""``flagpost workers targets``: where Prometheus reads metrics."""

import ipaddress
import json
import os
import socket
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from pipeline.admin import workers
from pipeline.admin.workers import ListedWorker
from pipeline.cli.acting import run_action
from pipeline.cli.output import WARN, CommandError, err, print_json
from pipeline.settings import Settings

MODE = 0o644
"""Of the file: Prometheus is another user, and hosts and ports are no secret."""


def scrape_targets(
    file: Annotated[
        Path | None,
        typer.Option("--file", metavar="FILE", help="Write it there, as a whole or not at all, not to the terminal."),
    ] = None,
) -> None:
    """Where live workers serve their metrics, as Prometheus reads it from a file (file_sd_configs).

    Write it anew every 15 s or so, by a timer. A worker is named by the address that it listens at,
    FLAGPOST_METRICS_HOST, or by its host's name where that is every address of its host.

    Example: [bold]flagpost workers targets --file /run/flagpost-targets/targets.json[/]
    """
    settings = Settings.load()
    here = settings.host or socket.gethostname()
    found = [worker for worker in run_action(settings, "workers targets", workers.listed) if worker.has_process]
    # No labels: flagpost_worker_info has them, and ports move.
    entries = [{"targets": [target]} for target in _targets(found)]
    if file is None:
        print_json(entries)
    else:
        _write(file, entries)
    unreachable = sorted(
        {worker.host for worker in found if worker.host and worker.host != here and _is_loopback(worker)}
    )
    if unreachable:
        err.print(
            f"{WARN} workers on {escape(', '.join(unreachable))} listen where only their own host reaches them: "
            "set FLAGPOST_METRICS_HOST there to an address of that host"
        )


def _targets(found: Iterable[ListedWorker]) -> Iterator[str]:
    for worker in found:
        if worker.host and worker.port:
            host = worker.host if _is_any(worker.metrics_host or "") else str(worker.metrics_host)
            yield f"[{host}]:{worker.port}" if ":" in host else f"{host}:{worker.port}"


def _is_any(address: str) -> bool:
    """Whether who listens there listens at every address of the host."""
    try:
        return ipaddress.ip_address(address).is_unspecified
    except ValueError:
        return not address


def _is_loopback(worker: ListedWorker) -> bool:
    try:
        return worker.port is not None and ipaddress.ip_address(worker.metrics_host or "").is_loopback
    except ValueError:
        return worker.metrics_host == "localhost"


def _write(file: Path, entries: Any) -> None:
    """Whoever reads ``file`` meanwhile finds what it was or what it is, never a half. Raises CommandError."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=file.parent, prefix=f".{file.name}.", delete=False
        ) as written:
            try:
                written.write(json.dumps(entries) + "\n")
                written.flush()
                os.fchmod(written.fileno(), MODE)
                Path(written.name).replace(file)
            except BaseException:
                Path(written.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise CommandError(f"{file} cannot be written: {error.strerror}", "its directory has to exist") from None
