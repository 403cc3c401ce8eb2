"""What doctor found: values, in the order of the checks. Who prints them hears of each as it comes."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Protocol


class Level(StrEnum):
    """How bad a finding is; only FAIL makes the exit code 1."""

    OK = "ok"
    NOTE = "note"
    WARN = "warn"
    FAIL = "fail"


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


class Reader(Protocol):
    """Hears what is found while the checks go on."""

    def finding(self, found: Finding, *, is_detail: bool) -> None:
        """``is_detail``: a check that passed, for which the summary of its topic stands."""

    def summary(self, message: str) -> None:
        """Every check of a topic passed."""

    def about(self, chain: str) -> None:
        """What follows is about ``chain``."""


class Findings:
    """The findings in the order of the checks."""

    def __init__(self, reader: Reader | None = None) -> None:
        self.all: list[Finding] = []
        self._reader = reader

    def about(self, chain: str) -> None:
        """What follows is about ``chain``."""
        if self._reader is not None:
            self._reader.about(chain)

    def ok(self, check: str, message: str, *, is_detail: bool = False) -> None:
        """The check passed. ``is_detail``: the summary of its topic stands for it."""
        self.add(Finding(check, Level.OK, message), is_detail=is_detail)

    def summary(self, message: str) -> None:
        """Every check of a topic passed: one line for all of them."""
        if self._reader is not None:
            self._reader.summary(message)

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

    def add(self, finding: Finding, *, is_detail: bool = False) -> None:
        """Keep ``finding``, and tell the reader."""
        self.all.append(finding)
        if self._reader is not None:
            self._reader.finding(finding, is_detail=is_detail)
