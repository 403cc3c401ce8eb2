"""Child processes that do not outlive their parent: the kernel sends them a SIGTERM when it dies (Linux)."""

import ctypes
import signal
import sys

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(signum: int) -> None:
    """Have the kernel send this process ``signum`` when the thread that forked it ends."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signum)


def prepare_child() -> None:
    """Between fork and exec: signals as a fresh process has them, and a SIGTERM should the parent die."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    die_with_parent(signal.SIGTERM)
