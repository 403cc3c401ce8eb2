"""Three hosts on one machine: network namespaces on a switch of their own, with links that can be cut and slowed.

    a, b      workers
    ground    Postgres and the nodes; the process of the test enters it, so that whatever it starts is there

All of it lives in namespaces that are made here and gone at the end: no interface, address or rule of the machine
itself is touched. Needs Linux, root with CAP_NET_ADMIN and CAP_SYS_ADMIN, and ``ip`` (Debian: iproute2).
"""

import contextlib
import ctypes
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Self

WORKERS = ("a", "b")
GROUND = "ground"
_SWITCH = "switch"
_NAMESPACES = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_NET = "10.231.77"
"""Only inside the namespaces."""
_ADDRESSES = {GROUND: f"{_NET}.1", "a": f"{_NET}.2", "b": f"{_NET}.3"}
SLOW_MILLISECONDS = 120
"""Each way, where the kernel has netem."""
SLOW_KILOBITS = 256
"""Per second, where it has not: a narrow link delays whatever is more than a few packets."""

_numbers = itertools.count(1)


class HostsUnavailable(Exception):
    """This machine cannot make hosts; says what is missing."""


def unavailable() -> str | None:
    """Why there can be no hosts here; None where there can."""
    if os.name != "posix" or not Path("/proc/self/ns/net").exists():
        return "network namespaces need Linux"
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "the command ip is missing (Debian: apt-get install iproute2)"
    try:
        with Hosts():
            return None
    except HostsUnavailable as error:
        return str(error)


def enter_namespace(path: Path) -> None:
    """Put the calling thread, and what it starts from now on, into a network namespace. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if libc.setns(descriptor, _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"setns {path}: {os.strerror(number)}")
    finally:
        os.close(descriptor)


class Hosts:
    """``with Hosts() as hosts``. Raises HostsUnavailable."""

    def __init__(self) -> None:
        self._prefix = f"flagpost-{os.getpid()}-{next(_numbers)}"
        self.slows_by = ""
        """What a slow link is made with: ``netem``, ``tbf``, or empty where the kernel has neither."""

    def __enter__(self) -> Self:
        try:
            self._build()
        except (OSError, subprocess.CalledProcessError) as error:
            self._remove()
            said = getattr(error, "stderr", "") or str(error)
            raise HostsUnavailable(f"network namespaces cannot be made here: {said.strip()}") from error
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    def namespace(self, host: str) -> Path:
        return _NAMESPACES / self._name(host)

    def address(self, host: str = GROUND) -> str:
        return _ADDRESSES[host]

    @contextlib.contextmanager
    def entered(self, host: str = GROUND) -> Iterator[None]:
        """This thread, and what it starts, is on that host."""
        home = Path(f"/proc/self/task/{_thread()}/ns/net")
        before = os.open(home, os.O_RDONLY)
        enter_namespace(self.namespace(host))
        try:
            yield
        finally:
            enter_namespace(Path(f"/proc/self/fd/{before}"))
            os.close(before)

    def cut(self, host: str) -> None:
        """Nothing gets through, in either direction, and nobody is told."""
        self._ip(_SWITCH, "link", "set", f"to-{host}", "down")

    def heal(self, host: str) -> None:
        """The link is up and as fast as it was."""
        self._ip(_SWITCH, "link", "set", f"to-{host}", "up")
        if self.slows_by:
            self._tc(host, "del", check=False)

    def slow(self, host: str) -> bool:
        """What goes to the host is late. False where the kernel cannot do that."""
        if not self.slows_by:
            return False
        self._tc(host, "replace", *_SHAPES[self.slows_by], check=False)
        return True

    def _build(self) -> None:
        for host in (_SWITCH, *_ADDRESSES):
            self._run("ip", "netns", "add", self._name(host))
            self._ip(host, "link", "set", "lo", "up")
        self._ip(_SWITCH, "link", "add", "bridge", "type", "bridge")
        self._ip(_SWITCH, "link", "set", "bridge", "up")
        for host, address in _ADDRESSES.items():
            peer = ("peer", "name", "up0", "netns", self._name(host))
            self._ip(_SWITCH, "link", "add", f"to-{host}", "type", "veth", *peer)
            self._ip(_SWITCH, "link", "set", f"to-{host}", "master", "bridge", "up")
            self._ip(host, "address", "add", f"{address}/24", "dev", "up0")
            self._ip(host, "link", "set", "up0", "up")
        if shutil.which("tc") is not None:
            for kind, shape in _SHAPES.items():
                if self._tc("a", "add", *shape, check=False):
                    self._tc("a", "del", check=False)
                    self.slows_by = kind
                    break

    def _remove(self) -> None:
        for host in (*_ADDRESSES, _SWITCH):
            if self.namespace(host).exists():
                self._run("ip", "netns", "delete", self._name(host), check=False)

    def _name(self, host: str) -> str:
        return f"{self._prefix}-{host}"

    def _ip(self, host: str, *words: str) -> None:
        self._run("ip", "-netns", self._name(host), *words)

    def _tc(self, host: str, verb: str, *shape: str, check: bool = True) -> bool:
        device = ("dev", f"to-{host}", "root")
        return self._run("tc", "-netns", self._name(_SWITCH), "qdisc", verb, *device, *shape, check=check)

    def _run(self, *command: str, check: bool = True) -> bool:
        done = subprocess.run(command, capture_output=True, text=True, check=check, stdin=subprocess.DEVNULL)
        return done.returncode == 0


_SHAPES = {
    "netem": ("netem", "delay", f"{SLOW_MILLISECONDS}ms"),
    "tbf": ("tbf", "rate", f"{SLOW_KILOBITS}kbit", "burst", "4kb", "latency", "2s"),
}


def _thread() -> int:
    return int(ctypes.CDLL(None).gettid())
