"""The places where a kill is tried: before, inside and after every commit, and around every send.

A process started with FLAGPOST_CRASH_POINT=<name> (or <name>:<n>, the n-th time it gets there) kills itself
with SIGKILL at that point, as a machine that loses power would. tests/chaos walks all of them. Without the
setting a crash point costs one comparison.
"""

import os
import signal
from dataclasses import dataclass
from enum import StrEnum


class CrashPoint(StrEnum):
    """Named ``<step>.<where>``; ``open`` is inside the transaction, just before COMMIT."""

    JOB_TAKEN = "job.taken"

    REQUEST_BEFORE = "request.before"
    """A payment is built in memory, and written nowhere."""
    RESERVE_OPEN = "reserve.open"
    """A nonce is reserved (EVM), in the commit that asks for the signature."""
    REQUEST_OPEN = "request.open"
    REQUEST_AFTER = "request.after"
    """A signature may be asked for, and was not: the first commit is made."""
    SIGN_AFTER = "sign.after"
    """The signer has answered with bytes, and they are written nowhere but with the signer."""
    REFUSE_BEFORE = "refuse.before"
    """The signer has refused for good, and only the signer has that written down."""
    REFUSE_OPEN = "refuse.open"
    REFUSE_AFTER = "refuse.after"
    RECONCILE_OPEN = "reconcile.open"
    RECONCILE_AFTER = "reconcile.after"
    """A sender has transactions that are not recorded (EVM), and that is written down."""
    BROADCAST_OPEN = "broadcast.open"
    BROADCAST_AFTER = "broadcast.after"
    """Committed as broadcasting, not one byte sent: the second commit is made."""
    SEND_AFTER = "send.after"
    """The node has the bytes and has answered; nobody wrote the answer down."""
    REPLY_OPEN = "reply.open"
    REPLY_AFTER = "reply.after"

    REBROADCAST_OPEN = "rebroadcast.open"
    REBROADCAST_AFTER = "rebroadcast.after"
    """The repeat is counted and committed, not sent."""
    REBROADCAST_SENT = "rebroadcast.sent"

    INCLUDE_OPEN = "include.open"
    INCLUDE_AFTER = "include.after"
    REORG_OPEN = "reorg.open"
    REORG_AFTER = "reorg.after"
    SETTLE_BEFORE = "settle.before"
    SETTLE_OPEN = "settle.open"
    SETTLE_AFTER = "settle.after"
    EXPIRE_BEFORE = "expire.before"
    """Proved dead, and the proof written nowhere."""
    EXPIRE_OPEN = "expire.open"
    EXPIRE_AFTER = "expire.after"
    ACCOUNT_OPEN = "account.open"
    ACCOUNT_AFTER = "account.after"
    """An unrecorded transaction of our own (EVM) is recorded, or its sender is frozen."""

    WANT_OPEN = "want.open"
    WANT_AFTER = "want.after"
    REPLACE_BEFORE = "replace.before"
    """A replacement (EVM) is built in memory, and written nowhere."""
    REPLACE_OPEN = "replace.open"
    REPLACE_ASKED = "replace.asked"
    REPLACE_SIGNED = "replace.signed"
    REPLACE_KEEP = "replace.keep"
    """Its bytes are kept, in a commit that is open."""
    REPLACE_AFTER = "replace.after"
    REPLACE_SENT = "replace.sent"
    VOID_OPEN = "void.open"
    VOID_AFTER = "void.after"
    GAP_BEFORE = "gap.before"
    GAP_OPEN = "gap.open"
    GAP_ASKED = "gap.asked"
    GAP_SIGNED = "gap.signed"
    GAP_KEEP = "gap.keep"
    GAP_AFTER = "gap.after"
    GAP_SENT = "gap.sent"

    REJECT_OPEN = "reject.open"
    REJECT_AFTER = "reject.after"


NONCES_ONLY = frozenset(
    point
    for point in CrashPoint
    if point.partition(".")[0] in {"reserve", "reconcile", "account", "want", "replace", "void", "gap"}
)
"""Never reached on a chain whose transactions are not numbered."""


@dataclass(frozen=True, slots=True)
class Passage:
    """The crash points between the signature of a request and its second commit."""

    signed: CrashPoint
    keep_open: CrashPoint
    kept: CrashPoint
    sent: CrashPoint


FIRST = Passage(CrashPoint.SIGN_AFTER, CrashPoint.BROADCAST_OPEN, CrashPoint.BROADCAST_AFTER, CrashPoint.SEND_AFTER)
REPLACEMENT = Passage(
    CrashPoint.REPLACE_SIGNED, CrashPoint.REPLACE_KEEP, CrashPoint.REPLACE_AFTER, CrashPoint.REPLACE_SENT
)
GAP = Passage(CrashPoint.GAP_SIGNED, CrashPoint.GAP_KEEP, CrashPoint.GAP_AFTER, CrashPoint.GAP_SENT)


@dataclass(slots=True)
class _Fuse:
    point: CrashPoint
    passes_left: int


_fuse: _Fuse | None = None


def arm(spec: str | None) -> None:
    """Make this process die at ``spec`` (``name`` or ``name:n``); None disarms.

    Raises ValueError for a name that is no crash point.
    """
    global _fuse  # noqa: PLW0603 - one fuse a process, set once at its start
    if not spec:
        _fuse = None
        return
    name, _, times = spec.partition(":")
    try:
        _fuse = _Fuse(CrashPoint(name), int(times) if times else 1)
    except ValueError as error:
        known = ", ".join(CrashPoint)
        raise ValueError(
            f"FLAGPOST_CRASH_POINT={spec!r} is no crash point; use <name> or <name>:<n> of: {known}"
        ) from error


def crash_here(point: CrashPoint) -> None:
    """Die by SIGKILL if this process was armed for ``point``."""
    if _fuse is None or _fuse.point is not point:
        return
    _fuse.passes_left -= 1
    if _fuse.passes_left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
