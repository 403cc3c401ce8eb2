"""The Procfile: which processes of ours are to run, and how each is started."""

from collections.abc import Mapping
from pathlib import Path

from honcho.environ import parse_procfile

_INSTALLED = Path(__file__).resolve().parents[1] / "_data" / "Procfile"
_CHECKOUT = Path(__file__).resolve().parents[2] / "Procfile"


def procfile() -> Mapping[str, str]:
    """The command of each process by its name, as the Procfile of the project has them."""
    path = _CHECKOUT if _CHECKOUT.exists() else _INSTALLED
    processes: Mapping[str, str] = parse_procfile(path.read_text(encoding="utf-8")).processes
    return processes


def process_names() -> list[str]:
    """The names on the left of its lines, which are the types of worker, too."""
    return list(procfile())
