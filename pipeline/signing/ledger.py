"""What the signing processes of a host have signed away in the last 24 hours: a file that they share.

    reserve    the amount is added up with all that stands in the file; within the ceiling a line is appended and
               fsynced, and only then may anything be signed for it; above, CeilingReached
    refuse     what was never signed under a request's id, and never will be, is appended likewise
    write      several of both, up to the first that may not be signed

Who reads or appends holds a lock on the file, so that two processes cannot both take the last of a ceiling. A process
that dies in the middle of a line leaves one that does not end: it was not fsynced, nothing was signed for it, and the
next one cuts it off. Any other line that cannot be read stops signing. Lines that are two days old are left out as
the file is written anew. What waits at the same moment is written and fsynced together.
"""

import asyncio
import contextlib
import fcntl
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from loguru import logger

from pipeline.signing.clock import HostClock
from pipeline.signing.errors import CeilingReached, LedgerUnavailable, NeverSigned, OtherContent
from pipeline.signing.ledger_entries import WINDOW_SECONDS, Ceiling, Entries, Entry, Refusal, parse_line, text_of

T = TypeVar("T")

YOUNG_SECONDS = 600.0
"""A process that has not run for so long does not write the file anew: its clock may be wrong yet."""
LOCK_SECONDS = 5.0
"""Others hold the lock for one fsync. Whoever holds it longer stands still."""
LOCK_PAUSE_SECONDS = 0.005
COMPACT_BYTES = 1_000_000
"""The file is written anew when it is larger than this, and twice as large as what still counts."""
LINE_BYTES = 200
_ALONE = Refusal("unreached", "nothing is before it")


@dataclass(slots=True)
class _Batch:
    entries: Sequence[Entry]
    unreached: Refusal
    answers: list[Exception | None]
    """None: it stands on the disk as counted, and may be signed."""
    written: asyncio.Future[None]


async def in_thread(work: Callable[[], T]) -> T:
    """An fsync may take as long as the disk likes: not on the event loop."""
    return await asyncio.to_thread(work)


class SpendingLedger:
    """The file, for one process. Safe to use from many tasks."""

    def __init__(
        self,
        path: Path,
        *,
        clock: HostClock | None = None,
    ) -> None:
        self.path = path
        self._clock = clock or HostClock()
        self._set_back = 0
        self._counted = Entries()
        self._queue: list[_Batch] = []
        self._writing: asyncio.Task[None] | None = None

    async def reserve(self, request_id: str, content: str, ceiling: Ceiling, amount: int) -> None:
        """Count what a request may spend, once; on return it stands on the disk, and it may be signed.

        Raises CeilingReached, LedgerUnavailable, NeverSigned, OtherContent."""
        await self._write_one(Entry(request_id, content, ceiling, amount))

    async def refuse(self, request_id: str, content: str, refusal: Refusal) -> None:
        """Nothing is ever signed under this id; on return that stands on the disk. Raises NeverSigned, always but where
        it was counted before, and so may have been signed; LedgerUnavailable, OtherContent."""
        await self._write_one(Entry(request_id, content, refusal=refusal))

    async def write(self, entries: Sequence[Entry], unreached: Refusal) -> list[Exception | None]:
        """The same for a batch, in order and with one fsync: None where an entry was counted, now or before, else what
        ``reserve`` or ``refuse`` would raise. Those behind the first that may not be signed are never signed
        either: ``unreached`` says why.

        Raises LedgerUnavailable where nothing of it was written."""
        for entry in entries:
            if entry.amount < 0:
                raise ValueError(f"an amount of {entry.amount} cannot be reserved")
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        batch = _Batch(entries, unreached, [None] * len(entries), written)
        self._queue.append(batch)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_queue())
        # Shielded from whoever gives up waiting: what is written for others too goes on.
        await asyncio.shield(written)
        return batch.answers

    def spent(self, of: str) -> int:
        """Of the last 24 hours, by all processes of this host. Raises LedgerUnavailable."""
        try:
            self.path.stat()
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise LedgerUnavailable(self._why(error)) from error
        with self._locked() as file:
            self._read(file)
            return self._counted.spent[of]

    def check(self) -> None:
        """Try whether something could be written down. Raises LedgerUnavailable."""
        with self._locked() as file:
            self._read(file)

    async def _write_one(self, entry: Entry) -> None:
        (answer,) = await self.write([entry], _ALONE)
        if answer is not None:
            raise answer

    async def _write_queue(self) -> None:
        while self._queue:
            batches, self._queue = self._queue, []
            trouble: Exception | None = None
            try:
                await in_thread(lambda batches=batches: self._append(batches))  # type: ignore[misc]
            except Exception as error:
                trouble = error
            for batch in batches:
                if batch.written.done():
                    continue
                if trouble is not None:
                    batch.written.set_exception(trouble)
                    batch.written.exception()  # who asked may be gone
                else:
                    batch.written.set_result(None)

    def _append(self, batches: Sequence[_Batch]) -> None:
        """Runs outside of the event loop. Fills the answers in."""
        with self._locked() as file:
            self._read(file)
            spent, asked = Counter(self._counted.spent), dict[str, tuple[str, Exception | None]]()
            taken = [line for batch in batches for line in self._judge(batch, spent, asked)]
            if not taken:
                return
            text = text_of(taken)
            try:
                file_end = self._counted.offset
                if os.pwrite(file, text, file_end) != len(text):
                    raise OSError("it was written in part")
                os.fsync(file)
            except OSError:
                # Whatever of it reached the disk is cut off: nothing is signed for it.
                with contextlib.suppress(OSError):
                    os.ftruncate(file, file_end)
                self._counted = Entries()
                raise
            for line in taken:
                self._counted.take(line)
            self._counted.offset = file_end + len(text)
            kept = len(self._counted.lines) + len(self._counted.over) + len(self._counted.refused)
            is_large = self._counted.offset > max(COMPACT_BYTES, 2 * LINE_BYTES * kept)
            if (is_large or self._counted.is_stale) and self._clock.age > YOUNG_SECONDS:
                self._write_anew()

    def _judge(
        self, batch: _Batch, spent: Counter[str], asked: dict[str, tuple[str, Exception | None]]
    ) -> list[dict[str, Any]]:
        """Answer a batch; the lines that are to be written for that. ``asked`` is what this write has answered so far,
        content and answer by id."""
        at = round(self._clock.now(), 3)
        lines: list[dict[str, Any]] = []
        is_over = False
        for place, entry in enumerate(batch.entries):
            known, answer = self._known(entry)
            if not known and entry.request_id in asked:
                content, answer = asked[entry.request_id]
                answer = answer if content == entry.content else _other_content(entry)
            elif not known:
                refusal = batch.unreached if is_over else entry.refusal
                if refusal is None and entry.ceiling is not None:
                    answer = self._over(entry.ceiling, spent[entry.ceiling.of], entry.amount)
                    if answer is None:
                        spent[entry.ceiling.of] += entry.amount
                        lines.append(entry.line(at))
                elif refusal is not None:
                    answer = NeverSigned(refusal.why, refusal.said)
                    lines.append(replace(entry, refusal=refusal).line(at))
            asked.setdefault(entry.request_id, (entry.content, answer))
            is_over = is_over or answer is not None
            batch.answers[place] = answer
        return lines

    def _known(self, entry: Entry) -> tuple[bool, Exception | None]:
        """Whether the file knows a request already, and the answer to it: None where it was counted."""
        content = self._counted.contents.get(entry.request_id)
        if content is None:
            return False, None
        if content != entry.content:
            return True, _other_content(entry)
        refused = self._counted.refused.get(entry.request_id)
        return True, None if refused is None else NeverSigned(refused[1].why, refused[1].said)

    def _over(self, ceiling: Ceiling, spent: int, amount: int) -> CeilingReached | None:
        if spent + amount <= ceiling.most:
            return None
        oldest = next((at for at, of, _ in self._counted.lines.values() if of == ceiling.of), None)
        said = f"{ceiling.of}: {spent} of {ceiling.most} raw units are spent, {amount} more are asked for"
        return CeilingReached(said, spent, amount, None if oldest is None else oldest + WINDOW_SECONDS)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        """The file, locked against the other processes. Raises LedgerUnavailable."""
        try:
            file = self._open_locked()
        except OSError as error:
            raise LedgerUnavailable(self._why(error)) from error
        try:
            yield file
        except OSError as error:
            raise LedgerUnavailable(self._why(error)) from error
        finally:
            os.close(file)  # and with it the lock

    def _open_locked(self) -> int:
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                while True:
                    try:
                        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        break
                    except BlockingIOError:
                        if time.monotonic() > deadline:
                            raise OSError(f"another process has held its lock for {LOCK_SECONDS:g} s") from None
                        time.sleep(LOCK_PAUSE_SECONDS)
                if os.fstat(file).st_ino == self._inode_at_path():
                    return file
            except BaseException:
                os.close(file)
                raise
            os.close(file)  # it was written anew while we waited

    def _inode_at_path(self) -> int:
        try:
            return self.path.stat().st_ino
        except FileNotFoundError:
            return -1

    def _read(self, file: int) -> None:
        """Take in what others have appended, and forget what is a day old."""
        about, now = os.fstat(file), self._clock.now()
        if self._clock.set_back != self._set_back:
            # What seemed to be a day old is not: all of it is read again.
            self._set_back, self._counted = self._clock.set_back, Entries()
        if about.st_ino != self._counted.inode or about.st_size < self._counted.offset:
            self._counted = Entries(inode=about.st_ino)
            _sync_directory(self.path.parent)
        while about.st_size > self._counted.offset:
            text = os.pread(file, about.st_size - self._counted.offset, self._counted.offset)
            complete = text.rfind(b"\n") + 1
            for line in text[:complete].splitlines():
                self._counted.take(self._parsed(line))
            self._counted.offset += complete
            if complete < len(text):
                os.ftruncate(file, self._counted.offset)
                break
        ahead = self._counted.pass_time(now)
        if ahead:
            logger.warning("{}: {} lines are from the future: they count as of now", self.path, ahead)
            self._counted.is_stale = True

    def _parsed(self, line: bytes) -> dict[str, Any]:
        try:
            return parse_line(line)
        except (ValueError, KeyError, TypeError) as error:
            raise LedgerUnavailable(
                f"{self.path} has a line that cannot be read ({line[:80]!r}): nothing is signed. Somebody has changed "
                "it; find out who, then mend the line, or move the file away if a day has passed since the last "
                "signature"
            ) from error

    def _write_anew(self) -> None:
        """Only what counts, or did yesterday, in a file that takes the other's place at once. Run under the lock, after
        all else: what is appended to the old one from here on is lost."""
        beside = self.path.with_name(f"{self.path.name}.new")
        text = text_of(self._counted.lines_to_keep())
        file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            with os.fdopen(os.dup(file), "wb") as whole:
                whole.write(text)
                whole.flush()
                os.fsync(whole.fileno())
        finally:
            os.close(file)
        beside.rename(self.path)
        _sync_directory(self.path.parent)

    def _why(self, error: OSError) -> str:
        return f"the signed amount cannot be written to {self.path} ({error.strerror or error}): nothing is signed"


def _other_content(entry: Entry) -> OtherContent:
    return OtherContent(
        f"request {entry.request_id} was asked before, for something else: nothing is signed. Somebody has "
        "changed a row of signing_requests"
    )


def _sync_directory(directory: Path) -> None:
    """So that a new file is there after a power failure."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
