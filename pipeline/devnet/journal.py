"""What survives a SIGKILL: an append-only file of blocks, one JSON object a line, fsynced before a block is seen.

``{"genesis": {…}}`` first, then ``{"block": {…}}``; ``{"fork": n}`` takes back every block above n.
A last line that was cut off by the kill is dropped: nobody had been told of that block.
"""

import fcntl
import json
import os
from pathlib import Path
from typing import Any


class JournalUnusable(Exception):
    """The file cannot be used: a line in the middle is unreadable, or another process has it."""


class Journal:
    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._fd)
            raise JournalUnusable(f"{path} is in use by another devnet: stop it, or give another directory") from error

    def read(self) -> list[dict[str, Any]]:
        """Every record, oldest first. Raises JournalUnusable."""
        content = self._path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.ftruncate(self._fd, whole)
        records = []
        for number, line in enumerate(content[:whole].splitlines(), start=1):
            try:
                records.append(json.loads(line))
            except ValueError as error:
                raise JournalUnusable(
                    f"{self._path} line {number} is unreadable: move it away to start anew"
                ) from error
        return records

    def append(self, record: dict[str, Any]) -> None:
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        written = os.write(self._fd, line)
        if written != len(line):
            raise OSError(f"only {written} of {len(line)} bytes reached {self._path}: is the disk full?")
        os.fsync(self._fd)

    def close(self) -> None:
        os.close(self._fd)
