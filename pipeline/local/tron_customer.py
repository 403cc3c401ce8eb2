"""A customer of the simulated TRON network, who pays through tronpy and shares no line with what is tested.

The online build of tronpy signs the txid that its node returns. That is acceptable for money that is worth nothing; the
signing path builds its own bytes (docs/dependencies.md).
"""

from hashlib import sha256
from typing import Self

import httpx
from tronpy import AsyncTron
from tronpy.async_contract import AsyncContract
from tronpy.keys import PrivateKey
from tronpy.providers import AsyncHTTPProvider

FEE_LIMIT = 100_000_000
"""Sun. A transfer burns 6.7 TRX of it, and four times as much under the highest dynamic energy factor."""
TIMEOUT_SECONDS = 10.0


class TronCustomer:
    """One key, to be given TRX and tokens."""

    def __init__(self, node_url: str) -> None:
        # Anybody can compute the key, and one customer is kept over restarts: it guards nothing.
        self._key = PrivateKey(sha256(b"flagpost local customer").digest())
        self.address: str = self._key.public_key.to_base58check_address()
        # The node is on this machine: a proxy named by the environment must not be asked for it.
        client = httpx.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=False)
        self._tron = AsyncTron(AsyncHTTPProvider(node_url, client=client))
        self._tokens: dict[str, AsyncContract] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def send_token(self, token: str, address: str, raw: int) -> str:
        """Build, sign and broadcast a TRC20 transfer of ``raw`` units. Returns its txid; it needs a block to count.

        Raises ConnectionError when the node does not answer, tronpy's TransactionError and others when it refuses.
        """
        try:
            if token not in self._tokens:
                self._tokens[token] = await self._tron.get_contract(token)
            call = await self._tokens[token].functions.transfer(address, raw)
            transaction = await call.with_owner(self.address).fee_limit(FEE_LIMIT).build()
            sent = await transaction.sign(self._key).broadcast()
        except httpx.TransportError as error:
            raise ConnectionError(str(error)) from error
        return str(sent.txid)

    async def close(self) -> None:
        """Close its connections."""
        await self._tron.close()
