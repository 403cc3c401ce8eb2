"""Honcho, with an order: database, node, set-up, workers; and backwards when it stops.

The workers are one line, the agent of a host, which starts them again where they end. What they say comes with their
slots on the left; here each has the name of its type, as if it were a line of its own.

Plain Honcho starts and stops everything at once. Here the workers start once the set-up line has
ended well, and get the time to finish or hand back their jobs before the node and the database
go. Killing the supervisor itself leaves nothing behind either: each child asks the kernel for a
SIGTERM when its parent dies.
"""

import multiprocessing
import queue
import re
import signal
import time
from collections.abc import Sequence
from typing import Any

from honcho.manager import Manager
from honcho.printer import Printer
from honcho.process import Popen, Process

from pipeline.local.procfile import AGENT, Line, Phase
from pipeline.scaling.lines import WORKER_TYPES
from pipeline.scaling.output import SEPARATOR
from pipeline.scaling.parent import die_with_parent, prepare_child

GRACE_SECONDS = 25.0
"""From SIGTERM to SIGKILL of one phase: more than the agent takes, which kills its workers after 20 s."""
_SLOT = re.compile(
    r"[a-z][a-z0-9+]*(?:-[a-z0-9+]+)*?-(?P<type>TYPES)-(?P<number>[0-9]{3,4})".replace("TYPES", "|".join(WORKER_TYPES))
)
"""A slot; a chain's name may have hyphens, too."""


class _Child(Process):  # type: ignore[misc]  # honcho has no type hints
    """One line's relay process: starts the command and passes its output on."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._child_ctor = _popen

    def run(self, events: Any = None, ignore_signals: bool = False) -> None:
        # Before the command is started and not after, as Honcho does it: Ctrl-C reaches the relays too.
        if ignore_signals:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        die_with_parent(signal.SIGKILL)
        super().run(events, ignore_signals)


def _popen(command: str, **kwargs: Any) -> Any:
    # exec: the shell must not stand between us and the process that the signals are for.
    return Popen(f"exec {command}", preexec_fn=prepare_child, **kwargs)


class Supervisor(Manager):  # type: ignore[misc]  # honcho has no type hints
    """Runs the lines of the local mode until Ctrl-C, or until one of them ends.

    ``returncode`` afterwards: 0 when it was asked to stop and everything stopped by itself, otherwise
    the exit code of the line that ended first (or 1).
    """

    def __init__(self, lines: Sequence[Line], env: dict[str, str], printer: Printer) -> None:
        super().__init__(printer)
        self.returncode: int | None = None
        self._process_ctor = _Child
        self._lines = {line.name: line for line in lines}
        for line in lines:
            self.add_process(line.name, line.command, env={**env, **line.env})
        self._colours_of: dict[str, str] = {}
        self._signals = 0
        self._stopping: Phase | None = None
        self._deadline = 0.0

    def loop(self) -> None:
        """Start the lines phase by phase, print what they say, stop them phase by phase."""
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, self._on_signal)
        for phase in (Phase.DATABASE, Phase.NODE, Phase.SETUP):
            self._launch(phase)
        if not self._of(Phase.SETUP):
            self._launch(Phase.WORK)
        while not self._over():
            try:
                self._turn()
            except OSError:
                # Nobody reads us any more (`flagpost up | head`): stop in order, in silence.
                self._printer = _Silence()
                self._signals = max(self._signals, 1)
        if self.returncode is None:
            self.returncode = 0

    def _turn(self) -> None:
        try:
            message = self.events.get(timeout=0.1)
        except queue.Empty:
            message = None
        if message is not None:
            self._handle(message)
        self._step()

    def _handle(self, message: Any) -> None:
        if message.type == "line":
            self._printer.write(self._named(message) if message.name == AGENT else message)
        elif message.type == "start":
            self._processes[message.name]["pid"] = message.data["pid"]
            if self._stopping is not None and self._lines[message.name].phase >= self._stopping:
                self._procmgr.terminate(message.data["pid"])  # started while it was being stopped
        elif message.type == "stop":
            self._ended(message.name, message.data["returncode"])

    def _named(self, message: Any) -> Any:
        """A line of the agent as one of the worker that said it."""
        text = message.data.decode("utf-8", "replace")
        slot, separator, said = text.partition(SEPARATOR)
        name = name_of(slot.rstrip())
        if not separator or name is None:
            return message
        colour = self._colours_of.get(name) or self._colours_of.setdefault(name, next(self._colours))
        self._printer.width = max(self._printer.width, len(name))
        return message._replace(name=name, data=said, colour=colour)

    def _ended(self, name: str, code: int) -> None:
        self._processes[name]["returncode"] = code
        if self._stopping is not None:
            return
        if self._lines[name].phase is Phase.SETUP and code == 0:
            self._launch(Phase.WORK)
            return
        self.returncode = code if code > 0 else 1
        self._say(f"{name} ended ({_describe(code)}); stopping the rest")
        self._begin_stop()

    def _launch(self, phase: Phase) -> None:
        if self._signals:
            return
        for name in self._of(phase):
            entry = self._processes[name]
            # Its pid is known once its relay reports it; until then the entry counts as alive.
            entry["process"] = _spawn(name, entry["obj"], self.events)

    def _on_signal(self, signum: int, frame: object) -> None:
        self._signals += 1

    def _step(self) -> None:
        if self._signals and self._stopping is None:
            self._say("stopping: workers first, then the node, then the database (Ctrl-C again: at once)")
            self._begin_stop()
        if self._stopping is None:
            return
        if self._signals > 1 or time.monotonic() > self._deadline:
            self._force()
        while self._stopping > Phase.DATABASE and not self._alive(self._stopping):
            self._stopping = Phase(self._stopping - 1)
            self._ask(self._stopping)

    def _begin_stop(self) -> None:
        self._stopping = Phase.WORK
        self._ask(Phase.WORK)

    def _ask(self, phase: Phase) -> None:
        self._deadline = time.monotonic() + GRACE_SECONDS
        for name in self._alive(phase):
            pid = self._processes[name].get("pid")
            if pid is not None:
                self._procmgr.terminate(pid)

    def _force(self) -> None:
        late = self._alive(None) if self._signals > 1 else self._alive(self._stopping)
        for name in late:
            pid = self._processes[name].get("pid")
            if pid is not None and not self._processes[name].get("killed"):
                self._processes[name]["killed"] = True
                self._say(f"{name} is still there: killing it")
                self.returncode = self.returncode or 1
                self._procmgr.kill(pid)

    def _of(self, phase: Phase) -> list[str]:
        return [name for name, line in self._lines.items() if line.phase is phase]

    def _alive(self, phase: Phase | None) -> list[str]:
        return [
            name
            for name, entry in self._processes.items()
            if "process" in entry and "returncode" not in entry and (phase is None or self._lines[name].phase is phase)
        ]

    def _over(self) -> bool:
        return self._stopping is not None and not self._alive(None)

    def _say(self, text: str) -> None:
        self._system_print(text + "\n")


class _Silence:
    """A printer for when there is nothing to print on."""

    width = 0

    def write(self, message: Any) -> None:
        """Forget the message."""


def name_of(slot: str) -> str | None:
    """How a worker is called here: by its type, and by its number where it is not the first; None for what is no
    slot."""
    found = _SLOT.fullmatch(slot)
    if found is None:
        return None
    return found["type"] if int(found["number"]) == 1 else f"{found['type']}-{found['number']}"


def _spawn(name: str, child: _Child, events: Any) -> Any:
    # fork, whatever the platform's default: the child's constructor is not picklable.
    process = multiprocessing.get_context("fork").Process(name=name, target=child.run, args=(events, True))
    process.start()
    return process


def _describe(code: int) -> str:
    if code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}" if code else "without an error"
