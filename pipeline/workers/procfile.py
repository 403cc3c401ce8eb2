"""The Procfile: which processes of ours are to run, and how each is started."""

from collections.abc import Mapping
from pathlib import Path

from honcho.environ import parse_procfile

_HERE = Path("Procfile")
_INSTALLED = Path(__file__).resolve().parents[1] / "_data" / "Procfile"
_CHECKOUT = Path(__file__).resolve().parents[2] / "Procfile"


class NoProcfile(Exception):
    """The Procfile cannot be read."""


def procfile_path() -> Path:
    """The Procfile of the working directory; where there is none, that of the project."""
    return _HERE if _HERE.is_file() else own_procfile_path()


def own_procfile_path() -> Path:
    """The Procfile of the project."""
    return _CHECKOUT if _CHECKOUT.exists() else _INSTALLED


def procfile_commands(path: Path) -> Mapping[str, str]:
    """The command of each process by its name. Raises NoProcfile."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NoProcfile(f"the Procfile {path} cannot be read: {error}") from None
    processes: Mapping[str, str] = parse_procfile(text).processes
    return processes


def procfile() -> Mapping[str, str]:
    """The command of each process by its name, as the Procfile of the project has them."""
    return procfile_commands(own_procfile_path())


def process_names() -> list[str]:
    """The names on the left of its lines, which are the types of worker, too."""
    return list(procfile())
