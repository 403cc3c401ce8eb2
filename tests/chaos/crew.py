"""The processes of a run, minded as a supervisor does: whatever ends is started again after a moment."""

import asyncio
import contextlib
import signal
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.fleet import Process, Zygote

RESTART_SECONDS = 0.3
"""Between an end and the next start."""
ENDED_WITHIN = 12.0
"""From SIGTERM to the end: grace, hand-over and some air on a busy machine."""
SECOND_SIGNAL_AFTER = 0.05
TAIL = 6_000

Environment = Callable[[str, str], Mapping[str, str]]
"""Of a process of some kind on some host."""


@dataclass(eq=False)
class Post:
    """One place in the crew, whoever fills it now."""

    kind: str
    number: int
    host: str
    process: Process | None = None
    armed: str | None = None
    """The crash point of its next life."""
    life_armed: bool = False
    killed: bool = False
    """This life was ended from outside."""
    ending: bool = False
    """It was asked to end."""
    frozen: int = 0
    """How many blows keep it frozen."""
    lives: int = 0

    @property
    def name(self) -> str:
        return f"{self.kind}/{self.number}"

    @property
    def alive(self) -> bool:
        return self.process is not None and not self.process.status.done()


@dataclass(eq=False)
class Crew:
    """``start`` once, then blows, then ``calm`` and ``end``."""

    zygotes: Mapping[str, Zygote]
    """By host."""
    environment: Environment
    log: Path
    posts: list[Post] = field(default_factory=list)
    crashes: int = 0
    """Lives that ended at their crash point."""
    restarts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    """Processes that ended by themselves, or did not when they were told."""
    _minding: list[asyncio.Task[None]] = field(default_factory=list)
    _closing: bool = False
    _deaths: dict[int, float] = field(default_factory=dict)

    def start(self, kinds: Mapping[str, int], hosts: list[str]) -> None:
        """So many processes of each kind, spread over the hosts."""
        self.posts = [
            Post(kind, number, hosts[number % len(hosts)]) for kind, count in kinds.items() for number in range(count)
        ]
        self._minding = [asyncio.create_task(self._mind(post), name=post.name) for post in self.posts]

    def find(self, kind: str, number: int) -> Post:
        return next(post for post in self.posts if (post.kind, post.number) == (kind, number))

    @property
    def pids(self) -> set[int]:
        """Of the processes that live, frozen ones included."""
        return {post.process.pid for post in self.posts if post.process is not None and post.alive}

    def dead_since(self, pid: int) -> float | None:
        """When a process of ours died, by the loop's clock."""
        return self._deaths.get(pid)

    def kill(self, post: Post, *, then: str | None = None) -> bool:
        """SIGKILL; the next life is armed with ``then``. False if nobody was there to die."""
        if not post.alive or post.process is None:
            return False
        post.armed = then
        post.killed = True
        post.process.kill()
        return True

    async def freeze(self, post: Post, seconds: float) -> bool:
        """SIGSTOP, and SIGCONT after ``seconds``."""
        process = post.process
        if not post.alive or process is None:
            return False
        process.kill(signal.SIGSTOP)
        post.frozen += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            post.frozen -= 1
            if not post.frozen:
                process.kill(signal.SIGCONT)
                self._wake(post)
        return True

    async def terminate(self, post: Post, *, twice: bool = False) -> bool:
        """SIGTERM, as at every deployment. It has to end by itself, and at once after a second one."""
        process = post.process
        if not post.alive or process is None or post.ending:
            return False
        post.ending = True
        process.kill(signal.SIGTERM)
        if twice:
            await asyncio.sleep(SECOND_SIGNAL_AFTER)
            process.kill(signal.SIGTERM)
        await self._until_ended(post, process)
        return True

    def calm(self) -> None:
        """Nobody is frozen or armed any more. Lives that were armed and got away end here."""
        for post in self.posts:
            post.armed = None
            self._wake(post)
            if post.life_armed:
                self.kill(post)

    async def end(self) -> None:
        """An orderly end of everybody: SIGTERM, exit code 0."""
        self._closing = True
        for post in self.posts:
            self._wake(post)
        ending = []
        for post in self.posts:
            process = post.process
            if process is not None and post.alive:
                post.ending = True
                process.kill(signal.SIGTERM)
                ending.append(self._until_ended(post, process))
        await asyncio.gather(*ending)
        for task in self._minding:
            task.cancel()
        await asyncio.gather(*self._minding, return_exceptions=True)
        self._minding = []

    async def close(self) -> None:
        """No process is left, however the run went."""
        self._closing = True
        for task in self._minding:
            task.cancel()
        await asyncio.gather(*self._minding, return_exceptions=True)
        for post in self.posts:
            if post.process is not None:
                post.process.kill()

    def said(self) -> str:
        """The end of the log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return text[-TAIL:]

    async def _mind(self, post: Post) -> None:
        while not self._closing:
            post.ending = post.killed = False
            armed, post.armed = post.armed, None
            env = dict(self.environment(post.kind, post.host))
            if armed:
                env["FLAGPOST_CRASH_POINT"] = armed
            process = await self.zygotes[post.host].start(post.kind, env, self.log)
            post.process, post.life_armed = process, armed is not None
            post.lives += 1
            status = await process.status
            self._deaths[process.pid] = asyncio.get_running_loop().time()
            self._note_end(post, status)
            await asyncio.sleep(RESTART_SECONDS)

    def _note_end(self, post: Post, status: int) -> None:
        self.restarts[post.kind] += 1
        self.crashes += post.life_armed and not post.killed and status == -signal.SIGKILL
        # Before its handlers stand, SIGTERM ends a process as any other.
        orderly = {0, 128 + signal.SIGTERM, -signal.SIGTERM} if post.ending else set()
        if status not in orderly | {-signal.SIGKILL}:
            self.problems.append(f"{post.name} ended by itself with {status}\n{self.said()}")

    async def _until_ended(self, post: Post, process: Process) -> None:
        """Time that it spends frozen does not count."""
        left = ENDED_WITHIN
        while left > 0 and not process.status.done():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    await asyncio.shield(process.status)
            left -= 0.0 if post.frozen else 0.5
        if not process.status.done():
            self.problems.append(f"{post.name} had not ended {ENDED_WITHIN:g} s after SIGTERM\n{self.said()}")
            process.kill()

    def _wake(self, post: Post) -> None:
        if post.process is not None and post.alive:
            post.process.kill(signal.SIGCONT)
