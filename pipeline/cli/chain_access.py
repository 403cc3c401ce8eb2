"""A chain as commands reach it: its row, its nodes, and what they say, in words for people."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from rich.markup import escape

from pipeline.catalog.access import access
from pipeline.chains.errors import ChainError, ChainUnavailable, InvalidAddress, NotAToken, WrongNetwork
from pipeline.chains.open import open_provider, options_of
from pipeline.chains.provider import Provider
from pipeline.chains.values import Asset, TokenInfo
from pipeline.cli.output import CommandError, err
from pipeline.cli.session import Connection, Row
from pipeline.db.statements import statement
from pipeline.settings import Settings

PATIENCE_SECONDS = 4.0
"""Per question. Commands are for people who wait for them."""


def chain_row(connection: Connection, name: str) -> Row:
    """The chain's row, with what opening it takes. Raises CommandError listing the chains there are."""
    row = connection.execute(statement("chains/get"), {"chain": name}).fetchone()
    if row is not None:
        return row
    known = [other["name"] for other in connection.execute(statement("wallets/chain_names"))]
    raise CommandError(
        f"no chain is called {name!r}; there are: {', '.join(known)}", "add it: flagpost chains add --help"
    )


def nodes_variable(name: str) -> str:
    """The environment variable that names a chain's nodes."""
    return f"FLAGPOST_NODES_{name.upper().replace('-', '_')}"


def open_chain(settings: Settings, chain: Row, assets: Sequence[Asset] = (), nodes: Sequence[Any] = ()) -> Provider:
    """A provider over ``nodes``, else those of the environment, else those of the row. Raises CommandError."""
    name = chain["name"]
    try:
        to = access(settings, name, chain["nodes"], nodes)
    except ValueError as error:
        raise CommandError(str(error), "nothing was changed") from None
    if not to.nodes:
        raise CommandError(
            f"{name} has no node to be checked with", f"name one: --node URL, or set {nodes_variable(name)}"
        )
    options = options_of(chain["family"], chain["fees"], chain["block_seconds"])
    try:
        return open_provider(
            *(chain["family"], name, chain["network_id"], to.nodes, to.api_keys, assets, options),
            patience=PATIENCE_SECONDS,
        )
    except (ValueError, ChainError) as error:
        raise CommandError(str(error), "nothing was changed") from None


@asynccontextmanager
async def checked_chain(settings: Settings, chain: Row, nodes: Sequence[Any] = ()) -> AsyncIterator[Provider]:
    """A provider whose nodes answer and are of the right network. Raises CommandError."""
    provider = open_chain(settings, chain, nodes=nodes)
    try:
        with said_plainly(chain["name"]):
            await provider.check_network()
            yield provider
    finally:
        await provider.close()


async def check_receipts(provider: Provider, chain: str) -> None:
    """Whether the nodes have the receipts of what their blocks list; a few that are missing are told. Raises
    CommandError for a node that has none: nothing paid on the chain would be settled."""
    with said_plainly(chain):
        gaps = await provider.receipt_gaps()
    for gap in gaps.values():
        if gap.everything:
            raise CommandError(
                gap.said, f"nothing was changed: name a node that keeps receipts (--node URL, {nodes_variable(chain)})"
            )
        err.print(f"[yellow]{escape(gap.said)}[/]: name a second node, or a payment of ours among them waits")


async def check_abilities(provider: Provider, chain: str) -> None:
    """Whether the nodes offer what is needed of them; what they can do without is told. Raises CommandError."""
    with said_plainly(chain):
        lacking = await provider.lacks()
    for node, lacks in lacking.items():
        for lack in lacks:
            said = f"node {node} does not know {lack.what} (it says: {lack.said})"
            if lack.is_essential:
                raise CommandError(f"{said}: {lack.without}", "nothing was changed")
            err.print(f"[yellow]{escape(said)}[/]: {escape(lack.without)}")


@contextmanager
def said_plainly(chain: str) -> Iterator[None]:
    """Errors of the chain as CommandErrors that say what to do."""
    try:
        yield
    except WrongNetwork as error:
        raise CommandError(str(error), "nothing was changed: give it a node of its own network") from None
    except ChainUnavailable as error:
        raise CommandError(
            str(error), f"nothing was changed: check the node, name another one (--node URL, {nodes_variable(chain)})"
        ) from None
    except NotAToken as error:
        raise CommandError(str(error), "nothing was changed") from None
    except InvalidAddress as error:
        raise CommandError(str(error), "compare it with where you copied it from") from None
    except ChainError as error:
        raise CommandError(f"{chain}: {error}", "nothing was changed") from None


async def compare_token(provider: Provider, chain: str, stored: Mapping[str, Any]) -> TokenInfo:
    """What the contract says, if ``stored`` (symbol, decimals, contract_address) says the same. Raises CommandError."""
    with said_plainly(chain):
        found = await provider.inspect_token(stored["contract_address"])
    for what, said in (("symbol", found.symbol), ("decimals", found.decimals)):
        if stored[what] is not None and stored[what] != said:
            raise CommandError(
                f"{what} of {found.contract} on {chain} is {said!r} by its own word, not {stored[what]!r}",
                f"nothing was changed: give {what} as the contract has it, or check the contract's address",
            )
    return found
