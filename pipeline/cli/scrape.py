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

    Write it anew every 15 s or so, by a timer. A worker of this host is named by the address of FLAGPOST_METRICS_HOST
    here, which is taken for its own; one of another host by its host's name.

    Example: [bold]flagpost workers targets --file /run/flagpost-targets/targets.json[/]
    """
    settings = Settings.load()
    here = settings.host or socket.gethostname()
    found = [worker for worker in run_action(settings, "workers targets", workers.listed) if worker.has_process]
    # No labels: flagpost_worker_info has them, and ports move.
    entries = [{"targets": [target]} for target in _targets(found, here, settings.metrics_host)]
    if file is None:
        print_json(entries)
    else:
        _write(file, entries)
    elsewhere = sorted({worker.host for worker in found if worker.host and worker.port and worker.host != here})
    if elsewhere and _is_loopback(settings.metrics_host):
        err.print(
            f"{WARN} workers listen at {escape(settings.metrics_host)} unless FLAGPOST_METRICS_HOST names another "
            f"address on their host: see that it does on {escape(', '.join(elsewhere))}, and set it here, too"
        )


def _targets(found: Iterable[ListedWorker], here: str, address: str) -> Iterator[str]:
    for worker in found:
        if worker.host and worker.port:
            host = address if worker.host == here and not _is_any(address) else worker.host
            yield f"[{host}]:{worker.port}" if ":" in host else f"{host}:{worker.port}"


def _is_any(address: str) -> bool:
    """Whether who listens there listens at every address of the host."""
    try:
        return ipaddress.ip_address(address).is_unspecified
    except ValueError:
        return not address


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


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
