"""The nodes of a chain, asked before an operator's action changes anything: network, finality, receipts, tokens."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from pipeline.admin.errors import InvalidValue, NodeUnavailable
from pipeline.catalog.access import access
from pipeline.catalog.chains import ChainRow, open_chain
from pipeline.chains.errors import ChainError, ChainUnavailable, InvalidAddress, NotAToken, WrongNetwork
from pipeline.chains.provider import Provider
from pipeline.chains.values import Asset, TokenInfo
from pipeline.settings import Settings

PATIENCE_SECONDS = 4.0
"""Per question: a person waits for the answer."""
NOTHING_CHANGED = "nothing was changed"


def nodes_variable(name: str) -> str:
    """The environment variable that names a chain's nodes."""
    return f"FLAGPOST_NODES_{name.upper().replace('-', '_')}"


def opened(settings: Settings, chain: ChainRow, nodes: Sequence[Any] = (), assets: Sequence[Asset] = ()) -> Provider:
    """A provider over ``nodes``, else those that are configured, as patient as a person. Raises InvalidValue,
    NodeUnavailable."""
    try:
        if not access(settings, chain.name, chain.nodes, nodes).nodes:
            raise NodeUnavailable(
                f"{chain.name} has no node to be checked with",
                f"name one: --node URL, or set {nodes_variable(chain.name)}",
            )
        return open_chain(settings, chain, nodes=nodes, assets=assets, patience=PATIENCE_SECONDS)
    except (ValueError, ChainError) as error:
        raise InvalidValue(str(error), NOTHING_CHANGED) from None


@asynccontextmanager
async def checked_chain(settings: Settings, chain: ChainRow, nodes: Sequence[Any] = ()) -> AsyncIterator[Provider]:
    """A provider whose nodes answer and are of the right network. Raises InvalidValue, NodeUnavailable."""
    provider = opened(settings, chain, nodes)
    try:
        with said_plainly(chain.name):
            await provider.check_network()
            yield provider
    finally:
        await provider.close()


async def check_nodes(provider: Provider, chain: str) -> list[str]:
    """Whether the nodes keep receipts and offer what is needed of them. What they can do without is a warning, a
    sentence each. Raises NodeUnavailable: nothing paid on the chain would be settled."""
    warnings = []
    with said_plainly(chain):
        for gap in (await provider.receipt_gaps()).values():
            if gap.everything:
                raise NodeUnavailable(
                    gap.said,
                    f"nothing was changed: name a node that keeps receipts (--node URL, {nodes_variable(chain)})",
                )
            warnings.append(f"{gap.said}: name a second node, or a payment of ours among them waits")
        for node, lacks in (await provider.lacks()).items():
            for lack in lacks:
                said = f"node {node} does not know {lack.what} (it says: {lack.said})"
                if lack.is_essential:
                    raise NodeUnavailable(f"{said}: {lack.without}", NOTHING_CHANGED)
                warnings.append(f"{said}: {lack.without}")
    return warnings


@contextmanager
def said_plainly(chain: str) -> Iterator[None]:
    """Errors of the chain as errors of an action, which say what to do."""
    try:
        yield
    except WrongNetwork as error:
        raise NodeUnavailable(str(error), "nothing was changed: give it a node of its own network") from None
    except ChainUnavailable as error:
        raise NodeUnavailable(
            str(error), f"nothing was changed: check the node, name another one (--node URL, {nodes_variable(chain)})"
        ) from None
    except NotAToken as error:
        raise InvalidValue(str(error), NOTHING_CHANGED) from None
    except InvalidAddress as error:
        raise InvalidValue(str(error), "compare it with where you copied it from") from None
    except ChainError as error:
        raise NodeUnavailable(f"{chain}: {error}", NOTHING_CHANGED) from None


async def compare_token(provider: Provider, chain: str, stored: Mapping[str, Any]) -> TokenInfo:
    """What the contract says, if ``stored`` (symbol, decimals, contract_address) says the same. Raises InvalidValue."""
    with said_plainly(chain):
        found = await provider.inspect_token(stored["contract_address"])
    for what, said in (("symbol", found.symbol), ("decimals", found.decimals)):
        if stored[what] is not None and stored[what] != said:
            raise InvalidValue(
                f"{what} of {found.contract} on {chain} is {said!r} by its contract, not {stored[what]!r}",
                f"nothing was changed: give {what} as the contract has it, or check the contract's address",
            )
    return found
