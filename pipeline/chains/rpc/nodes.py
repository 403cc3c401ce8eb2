"""Several nodes of one network as one: failover, patience, and no node used before its network was compared.

Work is a function of one node, so that everything it asks is answered by the same node: behind
different nodes heights go backwards, and two half answers prove nothing.

A node that fails, contradicts itself or turns out to be of another network is asked last until its back-off has passed,
and the next one does the work anew from its beginning. A question ends in an error only when no node answers soundly:
InconsistentNode where one was false, WrongNetwork where one is of another network, else ChainUnavailable. What two
nodes say of one another (a block that does not follow the one before it) is for the callers: nothing is settled then.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from loguru import logger
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential

from pipeline.chains.errors import ChainError, ChainUnavailable, InconsistentNode, WrongNetwork
from pipeline.chains.rpc.answers import unforeseen
from pipeline.chains.rpc.http import Clock, Node, NodeFailure

N = TypeVar("N", bound=Node)
T = TypeVar("T")

PATIENCE = 20.0
"""Seconds a question is tried over, on all nodes, before it fails."""
SECOND_OPINION_SECONDS = 1.0
"""After the first node has said its price: how long the second is waited for."""
LONGEST_REST = 60.0
"""Seconds that a node which failed, or gave a false answer, is asked after the others."""
_MOST_DOUBLINGS = 16
TROUBLE_SHOWN_SECONDS = 600.0
"""How long a node's last failure is shown."""

_backoff = wait_random_exponential(multiplier=0.2, max=5.0)


class Partial(NodeFailure):
    """An answer with a part missing: the answer all the same where no node has a whole one."""

    def __init__(self, message: str, answer: Any, lacking: int) -> None:
        super().__init__("partial", message)
        self.answer = answer
        self.lacking = lacking
        """How much is missing; of several the least counts."""


class _NoneAnswered(Exception):
    """One round through all nodes gave no sound answer; every node is in one of the lists."""

    def __init__(self, failures: list[NodeFailure], refused: list[InconsistentNode | WrongNetwork]) -> None:
        super().__init__("; ".join(str(one) for one in (*refused, *failures)))
        self.failures = failures
        self.refused = refused


class Nodes(Generic[N]):
    """The nodes of one chain in order of preference."""

    def __init__(
        self,
        chain: str,
        nodes: Sequence[N],
        verify: Callable[[N], Awaitable[None]],
        *,
        patience: float = PATIENCE,
        clock: Clock | None = None,
    ) -> None:
        """``verify`` raises WrongNetwork or NodeFailure. Raises ValueError without nodes."""
        if not nodes:
            raise ValueError(f"chain {chain} has no node: set FLAGPOST_NODES_{chain.upper().replace('-', '_')}")
        self.chain = chain
        self.all = tuple(nodes)
        self._verify = verify
        self._patience = patience
        self._clock = clock or Clock()

    @property
    def requests_per_second(self) -> float | None:
        """What the first in order allows; None: as many as it answers."""
        return self.in_order()[0].requests_per_second

    async def ask(self, work: Callable[[N], Awaitable[T]]) -> T:
        """The answer of the first node that gives a sound one, trying again over ``patience`` seconds.

        Raises ChainUnavailable, WrongNetwork, InconsistentNode, and the errors of the chains room that ``work`` raises
        as an answer. Anything else that it raises is a failure of the node.
        """
        deadline = self._clock.monotonic() + self._patience
        try:
            try:
                return await self._round(work)
            except _NoneAnswered as first:
                return await self._ask_again(work, first, deadline)
        except _NoneAnswered as error:
            if error.refused:
                raise type(error.refused[0])(str(error)) from error
            raise ChainUnavailable(f"no node of {self.chain} gave a usable answer: {error}") from error

    async def _ask_again(self, work: Callable[[N], Awaitable[T]], first: _NoneAnswered, deadline: float) -> T:
        """After a first round that failed. Apart, because most rounds do not, and retrying costs as much as asking."""
        failed = [first]

        async def attempt() -> T:
            if failed:
                raise failed.pop()
            return await self._round(work)

        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda error: isinstance(error, _NoneAnswered) and bool(error.failures)),
            wait=self._wait,
            stop=lambda state: self._clock.monotonic() + self._wait_at_least() >= deadline,
            sleep=self._clock.sleep,
            reraise=True,
        )
        return await retrying(attempt)

    async def ask_each(self, work: Callable[[N], Awaitable[T]]) -> dict[str, T]:
        """The answer of each node that gives a sound one, by its name; each is asked once. Raises what ``work`` raises
        as an answer."""
        answers = {}
        for number, node in enumerate(self.all):
            try:
                answers[node.name if node.name not in answers else f"{node.name} ({number})"] = await self.try_one(
                    node, work
                )
            except (NodeFailure, InconsistentNode, WrongNetwork):
                continue  # noted
        return answers

    async def try_one(self, node: N, work: Callable[[N], Awaitable[T]]) -> T:
        """The answer of ``node`` alone, once; how it did is remembered. Raises NodeFailure, WrongNetwork,
        InconsistentNode, and the errors of the chains room that ``work`` raises as an answer."""
        try:
            await self.verify(node)
            answer = await work(node)
        except Partial as partial:
            self._note(node, partial)
            raise
        except NodeFailure as failure:
            self.failed(node, failure)
            raise
        except (InconsistentNode, WrongNetwork) as refused:
            self.distrust(node, refused)
            raise
        except ChainError:
            raise
        except Exception as error:  # as in ``answers.reading``, for what lies outside of it
            unknown = unforeseen(node, "a question", error)
            self.failed(node, unknown)
            raise unknown from error
        self.succeeded(node)
        return answer

    async def opinions(self, work: Callable[[N], Awaitable[T]], most: int = 2) -> list[T]:
        """What several nodes say to a question whose answer is an opinion, such as a price: of up to ``most`` healthy
        ones at once, and at least of one. A node that takes longer than SECOND_OPINION_SECONDS after the first is left
        out.

        Raises what ``ask`` raises."""
        now = self._clock.monotonic()
        healthy = [node for node in self.all if node.suspended_for <= 0 and node.resting_until <= now][:most]
        if len(healthy) < 2:
            return [await self.ask(work)]
        asking = [asyncio.create_task(self._opinion(node, work)) for node in healthy]
        try:
            done, waiting = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
            if waiting:
                more, _ = await asyncio.wait(waiting, timeout=SECOND_OPINION_SECONDS)
                done |= more
        finally:
            for task in asking:
                task.cancel()
        said = [answer for task in asking if task in done for answer in task.result()]
        return said or [await self.ask(work)]

    async def _opinion(self, node: N, work: Callable[[N], Awaitable[T]]) -> list[T]:
        """One node's answer, or none."""
        try:
            return [await self.try_one(node, work)]
        except (NodeFailure, InconsistentNode, WrongNetwork):
            return []  # noted

    def in_order(self, turn: int = 0) -> list[N]:
        """By preference; those that failed lately after the others, suspended ones last. With ``turn`` n the n-th of
        the healthy ones, counted round and round, comes first."""
        now = self._clock.monotonic()
        healthy = [node for node in self.all if node.suspended_for <= 0 and node.resting_until <= now]
        others = [node for node in self.all if node not in healthy]
        first = turn % len(healthy) if healthy else 0
        return healthy[first:] + healthy[:first] + sorted(others, key=lambda node: node.suspended_for > 0)

    async def verify(self, node: N) -> None:
        """Compare the node's network unless that was done since it last broke off.

        Raises WrongNetwork, NodeFailure.
        """
        if not node.verified:
            await self._verify(node)
            node.verified = True

    def failed(self, node: N, failure: NodeFailure) -> None:
        """Deprioritise a failing node, with exponential back-off."""
        node.failures += 1
        node.resting_until = self._clock.monotonic() + min(2.0 ** min(node.failures - 1, _MOST_DOUBLINGS), LONGEST_REST)
        self._note(node, failure)

    def succeeded(self, node: N) -> None:
        if node.failures:
            logger.info("{}: {} answers again; failed calls: {}", self.chain, node.name, node.failures)
        node.failures, node.resting_until = 0, 0.0

    def distrust(self, node: N, refused: InconsistentNode | WrongNetwork) -> None:
        """Ask a node that gave a false answer after the others, and compare its network again before."""
        node.resting_until = self._clock.monotonic() + LONGEST_REST
        node.verified = False
        self._note(node, refused)

    def troubles(self) -> Mapping[str, str]:
        """By node that failed within TROUBLE_SHOWN_SECONDS: how often, and what the last failure was."""
        now = self._clock.monotonic()
        return {
            node.name: f"{node.troubles} failures, the last: {node.trouble}"
            for node in self.all
            if node.troubles and now - node.troubled_at <= TROUBLE_SHOWN_SECONDS
        }

    async def check_all(self) -> None:
        """Compare the network of every node.

        Raises WrongNetwork for one that differs, ChainUnavailable when none answers.
        """

        async def nothing(node: N) -> None:
            """Being compared is all."""

        failures: list[str] = []
        for node in self.all:
            node.verified = False
            try:
                await self.try_one(node, nothing)
            except NodeFailure as failure:
                failures.append(str(failure))
        if len(failures) == len(self.all):
            raise ChainUnavailable(f"no node of {self.chain} answers: {'; '.join(failures)}")

    async def close(self) -> None:
        for node in self.all:
            await node.close()

    async def _round(self, work: Callable[[N], Awaitable[T]]) -> T:
        failures: list[NodeFailure] = []
        refused: list[InconsistentNode | WrongNetwork] = []
        for node in self.in_order():
            try:
                return await self.try_one(node, work)
            except NodeFailure as failure:
                failures.append(failure)
            except (InconsistentNode, WrongNetwork) as refusal:
                refused.append(refusal)
        partial = min((one for one in failures if isinstance(one, Partial)), key=lambda one: one.lacking, default=None)
        if partial is not None:
            answer: T = partial.answer
            return answer
        raise _NoneAnswered(failures, refused)

    def _note(self, node: N, trouble: ChainError) -> None:
        """Remember what went wrong, and say it: each node once in a while."""
        node.troubles += 1
        node.trouble, node.troubled_at = str(trouble), self._clock.monotonic()
        level = "ERROR" if isinstance(trouble, InconsistentNode | WrongNetwork) else "WARNING"
        logger.log(level if node.complaint.due() else "DEBUG", "{}: {}", self.chain, trouble)

    def _wait(self, state: RetryCallState) -> float:
        return max(_backoff(state), self._wait_at_least())

    def _wait_at_least(self) -> float:
        """Until the first suspension ends; 0 when some node may be asked now."""
        return min(node.suspended_for for node in self.all)
