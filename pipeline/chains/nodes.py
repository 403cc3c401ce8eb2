"""Several nodes of one network as one: failover, patience, and no node used before its network was compared.

Work is a function of one node, so that everything it asks is answered by the same node: behind
different nodes heights go backwards, and two half answers prove nothing.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from loguru import logger
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from pipeline.chains.errors import ChainUnavailable, LyingNode
from pipeline.chains.http import Clock, Node, NodeFailure

N = TypeVar("N", bound=Node)
T = TypeVar("T")

PATIENCE = 20.0
"""Seconds a question is tried over, on all nodes, before it fails."""
LONGEST_REST = 60.0
"""Seconds that a node which failed, or gave a false answer, is asked after the others."""

_backoff = wait_random_exponential(multiplier=0.2, max=5.0)


class _NoneAnswered(Exception):
    """One round through all nodes failed; ``failures`` has one entry per node."""

    def __init__(self, failures: list[NodeFailure]) -> None:
        super().__init__("; ".join(str(failure) for failure in failures))
        self.failures = failures


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

    async def ask(self, work: Callable[[N], Awaitable[T]]) -> T:
        """The answer of the first node that gives one, trying again over ``patience`` seconds.

        Raises ChainUnavailable, WrongNetwork, LyingNode, and what ``work`` raises besides NodeFailure.
        """
        deadline = self._clock.monotonic() + self._patience
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(_NoneAnswered),
            wait=self._wait,
            stop=lambda state: self._clock.monotonic() + self._wait_at_least() >= deadline,
            sleep=self._clock.sleep,
            reraise=True,
        )
        try:
            return await retrying(self._round, work)
        except _NoneAnswered as error:
            raise ChainUnavailable(f"no node of {self.chain} gave a usable answer: {error}") from error

    async def ask_each(self, work: Callable[[N], Awaitable[T]]) -> dict[str, T]:
        """The answers of all nodes by name; those that do not answer are left out. Raises what ``work`` raises but
        NodeFailure, and WrongNetwork."""
        answers: dict[str, T] = {}
        for node in self.all:
            try:
                await self.verify(node)
                answers[node.name] = await work(node)
            except NodeFailure as failure:
                self.failed(node, failure)
        return answers

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
        """Ask ``node`` after the others for a while, the longer the more often it failed in a row."""
        node.failures += 1
        node.resting_until = self._clock.monotonic() + min(2.0 ** (node.failures - 1), LONGEST_REST)
        logger.log("WARNING" if node.failures == 1 else "DEBUG", "{}: {}", self.chain, failure)

    def succeeded(self, node: N) -> None:
        if node.failures:
            logger.info("{}: {} answers again after {} failures", self.chain, node.name, node.failures)
        node.failures, node.resting_until = 0, 0.0

    def distrust(self, node: N, lie: LyingNode) -> None:
        """Ask a node that gave a false answer after the others, and compare its network again before."""
        logger.error("{}: {}", self.chain, lie)
        node.resting_until = self._clock.monotonic() + LONGEST_REST
        node.verified = False

    async def check_all(self) -> None:
        """Compare the network of every node.

        Raises WrongNetwork for one that differs, ChainUnavailable when none answers.
        """
        failures: list[str] = []
        for node in self.all:
            node.verified = False
            try:
                await self.verify(node)
            except NodeFailure as failure:
                self.failed(node, failure)
                failures.append(str(failure))
        if len(failures) == len(self.all):
            raise ChainUnavailable(f"no node of {self.chain} answers: {'; '.join(failures)}")

    async def close(self) -> None:
        for node in self.all:
            await node.close()

    async def _round(self, work: Callable[[N], Awaitable[T]]) -> T:
        failures: list[NodeFailure] = []
        for node in self.in_order():
            try:
                await self.verify(node)
                answer = await work(node)
            except NodeFailure as failure:
                self.failed(node, failure)
                failures.append(failure)
            except LyingNode as lie:
                self.distrust(node, lie)
                raise
            else:
                self.succeeded(node)
                return answer
        raise _NoneAnswered(failures)

    def _wait(self, state: RetryCallState) -> float:
        return max(_backoff(state), self._wait_at_least())

    def _wait_at_least(self) -> float:
        """Until the first suspension ends; 0 when some node may be asked now."""
        return min(node.suspended_for for node in self.all)
