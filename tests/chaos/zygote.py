"""Real worker processes in 20 ms each: a process that has imported everything and forks on demand.

Reads one JSON line per start, ``{"kind": "gas-topup", "env": {…}, "log": "path"}``, answers ``{"started": pid}``, and
says ``{"ended": pid, "status": code}`` when a child ends (negative: the signal that killed it). Children die with it.
With the path of a network namespace as its argument it lives there, and its children with it.
"""

import ctypes
import gc
import json
import os
import select
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.catalog.chains import chain_opener
from pipeline.chains.evm.provider import EvmProvider
from pipeline.chains.tron.provider import TronProvider
from pipeline.log import configure_logging
from pipeline.settings import Settings
from pipeline.workers import confirmations, consolidation, gas_topup
from pipeline.workers.runtime import Worker
from pipeline.workers.serve import serve
from pipeline.workers.sweep import Sweep
from pipeline.workers.sync import Sync
from tests.chaos.hosts import enter_namespace

_PR_SET_PDEATHSIG = 1
CREATORS: dict[str, Callable[[Settings], Worker]] = {
    "gas-topup": gas_topup.create,
    "consolidation": consolidation.create,
    "confirmations": confirmations.create,
    "sync": lambda settings: Sync(chain_opener(settings)),
    "sweep": lambda _: Sweep(),
}
PRELOADED = (EvmProvider, TronProvider)


def main() -> None:
    """Serve starts until stdin ends."""
    gc.freeze()  # the children look through what they make themselves, and leave these pages shared
    if len(sys.argv) > 1:
        enter_namespace(Path(sys.argv[1]))
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    received = b""
    while True:
        ready, _, _ = select.select([0, awake], [], [])
        if awake in ready:
            os.read(awake, 4096)
            _reap()
        if 0 in ready:
            chunk = os.read(0, 65536)
            if not chunk:
                return
            received += chunk
            *lines, received = received.split(b"\n")
            for line in lines:
                _say(started=_start(json.loads(line)))


def _start(order: dict[str, Any]) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.update(order["env"])
        settings = Settings.load()
        configure_logging(settings, order["kind"])
        code = serve(settings, CREATORS[order["kind"]](settings))
    finally:
        sys.stderr.flush()
        os._exit(code)


def _reap() -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        _say(ended=pid, status=os.waitstatus_to_exitcode(status))


def _say(**what: int) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


if __name__ == "__main__":
    main()
