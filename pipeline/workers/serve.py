"""A worker as a process: signals, the event loop, the exit code.

running ──(SIGTERM, SIGINT)──▶ stopping ──▶ exit code 0
   │                               └──(a second signal, or the end of its patience)──▶ 128 + the signal's number
   └──(told to stop or restart)──▶ stopping ──▶ the same program anew, in the same process and slot;
                                                under the agent of a host: exit code 0;
                                                with a mnemonic out of a pipe: exit code 75
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from loguru import logger

from pipeline.environment import environment_of_slot
from pipeline.metrics.endpoint import Endpoint
from pipeline.printable import reason
from pipeline.settings import Settings
from pipeline.workers.runtime import HAND_BACK_SECONDS, Runtime, Worker

ECHO_SECONDS = 1.0
"""A signal that follows the first one so closely counts as the same under an agent: where that is killed, the
kernel sends its SIGTERM once for each thread of the agent that ends."""

CANNOT_BEGIN_ANEW = 75
"""Exit code of a process that was told to begin anew, and that only its launcher can start again (EX_TEMPFAIL)."""


def serve(settings: Settings, worker: Worker, **options: Any) -> int:
    """Run a worker as this process until a signal ends it; the exit code.

    A process that is told to begin anew does so in place: its launcher sees nothing of it (Honcho ends all lines when
    one ends). The first SIGTERM or SIGINT lets it finish what it holds; a second one ends the process at once, and so
    does the end of its patience: the driver waits for the answer to every question that it cancels, also where none
    ever comes.
    """
    runtime: Runtime | None = None
    if settings.read_once is not None:
        logger.warning(
            "{}: the mnemonic came out of {}, which cannot be read again: told to stop or restart, it ends {}",
            worker.type,
            settings.read_once,
            f"with exit code {CANNOT_BEGIN_ANEW}, and its launcher has to start it"
            if settings.managed_by is None
            else "and the next one waits until somebody writes the words there once more",
        )

    async def live() -> int:
        nonlocal runtime
        port = settings.metrics_port
        endpoint = None if port is None else Endpoint(settings.metrics_host, port)
        runtime = Runtime(settings, worker, **{"endpoint": endpoint, **options})
        return await _serve(runtime)

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        code = runner.run(live())
    if code == 0 and runtime is not None and _replaces_itself(runtime):
        return _begin_anew(runtime)
    return code


async def _serve(runtime: Runtime) -> int:
    loop, signals = asyncio.get_running_loop(), _Signals(runtime)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.received, number)
    patience = asyncio.create_task(_lose_patience(runtime), name="patience")
    try:
        await runtime.run()
    except Exception as error:
        # Errors of our own are written for people; anything else is a fault, and its traceback is wanted.
        ours = type(error).__module__.startswith("pipeline.")
        logger.opt(exception=None if ours else error).error("{}: failed: {}", runtime.worker.type, reason(error))
        return 1
    finally:
        patience.cancel()
    return 0


class _Signals:
    """The signals that one process got."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._first_at: float | None = None

    def received(self, number: signal.Signals) -> None:
        """The first one ends the process in order, a second one at once."""
        now = asyncio.get_running_loop().time()
        if self._first_at is None:
            self._first_at = now
            self._runtime.begins_anew = False
            self._runtime.stop()
        elif self._runtime.settings.managed_by is None or now - self._first_at > ECHO_SECONDS:
            os._exit(128 + number)


async def _lose_patience(runtime: Runtime) -> None:
    """As SIGKILL would: whatever is held is rescued."""
    await runtime.stopping.wait()
    await asyncio.sleep(runtime.grace_seconds + 2 * HAND_BACK_SECONDS)
    running = sorted(task.get_name() for task in asyncio.all_tasks())
    logger.error("{}: does not end; it is killed. Still running: {}", runtime.worker.type, ", ".join(running))
    os._exit(_begin_anew(runtime) if _replaces_itself(runtime) else 128 + signal.SIGTERM)


def _replaces_itself(runtime: Runtime) -> bool:
    """Whether nobody else starts this program again."""
    return runtime.begins_anew and runtime.settings.managed_by is None


def _begin_anew(runtime: Runtime) -> int:
    """Returns only where this program cannot take its own place: the exit code with which it leaves that to others."""
    slot, worker = runtime.registration.slot, runtime.worker.type
    if runtime.settings.read_once is None:
        logger.info("{}: begins anew in slot {}", worker, slot)
        sys.stdout.flush()
        sys.stderr.flush()
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment_of_slot(slot))  # noqa: S606 - this very program
    logger.warning(
        "{}: ends with exit code {}, for its launcher to start it again in slot {}", worker, CANNOT_BEGIN_ANEW, slot
    )
    return CANNOT_BEGIN_ANEW


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # not there on Windows
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
