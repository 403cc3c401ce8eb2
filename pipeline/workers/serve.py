"""A worker as a process: signals, the event loop, the exit code.

running ──(SIGTERM, SIGINT)──▶ stopping ──▶ exit code 0
                                   └──(a second signal, or the end of its patience)──▶ 128 + the signal's number
"""

import asyncio
import os
import signal
from collections.abc import Callable, Mapping
from typing import Any

from loguru import logger

from pipeline.printable import reason
from pipeline.settings import Settings
from pipeline.workers.runtime import HAND_BACK_SECONDS, Runtime, Worker


def serve(settings: Settings, worker: Worker, **options: Any) -> int:
    """Run a worker as this process until a signal ends it; the exit code.

    The first SIGTERM or SIGINT lets it finish what it holds; a second one ends the process at once, and so does the end
    of its patience: the driver waits for the answer to every question that it cancels, also where none ever comes.
    """
    return asyncio.Runner(loop_factory=_loop_factory()).run(_serve(settings, worker, options))


async def _serve(settings: Settings, worker: Worker, options: Mapping[str, Any]) -> int:
    runtime = Runtime(settings, worker, **options)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _on_signal, runtime, number)
    try:
        await runtime.run()
    except Exception as error:
        # Errors of our own are written for people; anything else is a fault, and its traceback is wanted.
        ours = type(error).__module__.startswith("pipeline.")
        logger.opt(exception=None if ours else error).error("{}: failed: {}", worker.type, reason(error))
        return 1
    return 0


def _on_signal(runtime: Runtime, number: signal.Signals) -> None:
    if runtime.stopping.is_set():
        os._exit(128 + number)
    runtime.stop()
    patience = runtime.grace_seconds + 2 * HAND_BACK_SECONDS
    asyncio.get_running_loop().call_later(patience, _break_off, runtime, number)


def _break_off(runtime: Runtime, number: signal.Signals) -> None:
    """As SIGKILL would: whatever is held is rescued."""
    running = sorted(task.get_name() for task in asyncio.all_tasks())
    logger.error("{}: does not end; it is killed. Still running: {}", runtime.worker.type, ", ".join(running))
    os._exit(128 + number)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # not there on Windows
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
