"""One reading: what was locked, to be read by one question to the chain, and stored or given back.

DueReading    balances that are due by themselves
PageReading   a page of an asset, of which only what changed is written
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from pipeline.balances.batch import Batch
from pipeline.balances.due import Claim
from pipeline.balances.page_store import PageStore
from pipeline.balances.pages import Page, PageChanges
from pipeline.balances.store import BalanceStore
from pipeline.chains.values import Balance, BalanceQuery


class Reading(ABC):
    """Locked balances of a chain."""

    lock: str

    @property
    @abstractmethod
    def queries(self) -> Sequence[BalanceQuery]:
        """What to ask the chain."""

    @abstractmethod
    async def store(self, chain: str, balances: Sequence[Balance]) -> Batch:
        """Write the answers, in the order of ``queries``. Raises psycopg errors."""

    @abstractmethod
    async def release(self, retry_seconds: float, error: str | None) -> None:
        """Unlock what was not read. Raises psycopg errors."""


class DueReading(Reading):
    """Balances that are due by themselves."""

    def __init__(self, store: BalanceStore, claim: Claim) -> None:
        self.lock = claim.lock
        self._store = store
        self._claim = claim
        self._queries = claim.queries

    @property
    def queries(self) -> Sequence[BalanceQuery]:
        return self._queries

    async def store(self, chain: str, balances: Sequence[Balance]) -> Batch:
        return Batch.of(chain, self._claim, balances, await self._store.store(self._claim, balances))

    async def release(self, retry_seconds: float, error: str | None) -> None:
        await self._store.release(self._claim, retry_seconds, error)


class PageReading(Reading):
    """A page of an asset."""

    def __init__(self, store: PageStore, page: Page) -> None:
        self.lock = page.claim.lock
        self._store = store
        self._page = page
        self._queries = page.queries

    @property
    def queries(self) -> Sequence[BalanceQuery]:
        return self._queries

    async def store(self, chain: str, balances: Sequence[Balance]) -> Batch:
        found = PageChanges.between(self._page, balances)
        return Batch.of_page(chain, self._page, found, await self._store.store(self._page, found))

    async def release(self, retry_seconds: float, error: str | None) -> None:
        await self._store.release(self._page.claim, retry_seconds, error)
