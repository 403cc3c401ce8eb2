"""A process under test whose lines can be waited for: its own words are the signal, nobody sleeps and hopes."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.patience import PATIENCE

FLAGPOST = str(Path(sys.executable).with_name("flagpost"))


class Running:
    """``with Running(["sync"], env) as sync: sync.line("ready as")``; killed at the end if it still lives."""

    def __init__(self, arguments: Sequence[str], env: Mapping[str, str], *, program: str | None = FLAGPOST) -> None:
        """``program`` None: the first of ``arguments`` is it."""
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._ended = False
        self.process = subprocess.Popen(
            [*([program] if program else []), *arguments],
            env=dict(env),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        self.process.stdout.close()

    def line(self, pattern: str, patience: float = PATIENCE) -> re.Match:
        """The first line that contains ``pattern``, whenever it came: two processes may speak in any order."""
        sought = re.compile(pattern)
        seen = 0

        def found() -> re.Match | None:
            nonlocal seen
            fresh, seen = self.lines[seen:], len(self.lines)
            return next(filter(None, map(sought.search, fresh)), None)

        with self._news:
            match: re.Match | None = None
            deadline = time.monotonic() + patience
            while not (match := found()):
                if self._ended:
                    raise AssertionError(f"ended before it said {pattern!r}:\n{self.said}")
                if not self._news.wait(max(0.0, deadline - time.monotonic())):
                    raise AssertionError(f"no {pattern!r} within {patience} s:\n{self.said}")
            return match

    def stop(self, signum: int = signal.SIGTERM, patience: float = PATIENCE) -> int:
        """Send the signal and wait; the exit code."""
        self.process.send_signal(signum)
        return self.wait(patience)

    def wait(self, patience: float = PATIENCE) -> int:
        """The exit code, once it ends by itself."""
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"did not end within {patience} s:\n{self.said}") from None

    @property
    def said(self) -> str:
        """Every line so far."""
        return "\n".join(self.lines)

    def _read(self):
        for line in self.process.stdout:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()


def flagpost(
    arguments: Sequence[str], env: Mapping[str, str], patience: float = PATIENCE
) -> subprocess.CompletedProcess:
    """Run a command to its end; its exit code, stdout and stderr."""
    return subprocess.run(
        [FLAGPOST, *arguments], env=dict(env), capture_output=True, text=True, timeout=patience, check=False
    )


def processes_of(home: Path) -> dict[int, str]:
    """Living processes that were started for ``home``, with their command lines."""
    found = {}
    marker = f"FLAGPOST_HOME={home}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            ours = marker in (entry / "environ").read_bytes().split(b"\0") or f"{home}/" in command
        except OSError:
            continue  # it has just ended
        if ours and command:
            found[int(entry.name)] = command
    return found


def until(condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """The first true answer of ``condition``: for what others do to files and processes, of which nobody tells."""
    deadline = time.monotonic() + patience
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"not within {patience} s: {what}"
        time.sleep(0.02)
    return answer


def wait_until_gone(home: Path) -> None:
    """Until no process of ``home`` lives."""
    until(lambda: not processes_of(home), f"no process of {home}; alive: {processes_of(home)}")
