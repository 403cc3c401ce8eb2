"""What doctor found: one line each, with what to do about it."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from rich.markup import escape

from pipeline.cli.output import BAD, NOTE, OK, WARN, out


class Level(StrEnum):
    """How bad a finding is; only FAIL makes the exit code 1."""

    OK = "ok"
    NOTE = "note"
    WARN = "warn"
    FAIL = "fail"


_MARKS = {Level.OK: OK, Level.NOTE: NOTE, Level.WARN: WARN, Level.FAIL: BAD}


@dataclass(frozen=True, slots=True)
class Finding:
    """One check."""

    check: str
    """Short and stable, for programs: ``database``, ``triggers``, ``tron.node``."""
    level: Level
    message: str
    todo: str = ""
    """What to do next; empty when nothing is wrong."""
    ids: tuple[str, ...] = ()
    """Of the rows that are concerned, as many as the message is about."""


class Findings:
    """The findings in the order of the checks, printed as they come unless a program reads them."""

    def __init__(self, *, quiet: bool, verbose: bool = False) -> None:
        """``verbose``: a line for each check that found nothing, instead of one for all of a topic."""
        self._quiet = quiet
        self._verbose = verbose
        self.all: list[Finding] = []

    def about(self, chain: str) -> None:
        """What follows is about ``chain``."""
        if not self._quiet:
            out.print(f"\n[bold]{escape(chain)}[/]")

    def ok(self, check: str, message: str, *, shown: bool = True) -> None:
        """The check passed. Not ``shown``: printed only if everything is; a summary stands for it."""
        self.add(Finding(check, Level.OK, message), shown=shown or self._verbose)

    def summary(self, message: str) -> None:
        """One line for several checks that found nothing."""
        if not self._quiet and not self._verbose:
            out.print(f"{OK} {escape(message)}")

    def note(self, check: str, message: str) -> None:
        """Something worth knowing; nothing is wrong."""
        self.add(Finding(check, Level.NOTE, message))

    def warn(self, check: str, message: str, todo: str) -> None:
        """Works, but not as it should."""
        self.add(Finding(check, Level.WARN, message, todo))

    def fail(self, check: str, message: str, todo: str) -> None:
        """Does not work until ``todo`` is done."""
        self.add(Finding(check, Level.FAIL, message, todo))

    @property
    def failed(self) -> int:
        """How many checks failed."""
        return sum(finding.level is Level.FAIL for finding in self.all)

    @property
    def warnings(self) -> int:
        """How many warnings there are."""
        return sum(finding.level is Level.WARN for finding in self.all)

    def as_json(self) -> dict[str, Any]:
        """The whole report."""
        return {
            "ok": self.failed == 0,
            "failed": self.failed,
            "warnings": self.warnings,
            "checks": [asdict(finding) for finding in self.all],
        }

    def add(self, finding: Finding, *, shown: bool = True) -> None:
        """Keep ``finding``, and print it if it is to be shown."""
        self.all.append(finding)
        if self._quiet or not shown:
            return
        out.print(f"{_MARKS[finding.level]} {escape(finding.message)}")
        if finding.todo:
            out.print(f"  [dim]→[/] {escape(finding.todo)}")
