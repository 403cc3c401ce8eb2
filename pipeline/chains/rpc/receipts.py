"""Whether nodes have the receipts of the transactions that their blocks list: without them nothing of ours is settled.

Some leave out a few (Erigon on Polygon the state-sync transaction at the end of a block), some have none at all.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TypeVar

from loguru import logger

from pipeline.chains.rpc.http import Node, NodeFailure
from pipeline.chains.rpc.nodes import Nodes, Partial
from pipeline.chains.values import BlockContent, BlockRef, ReceiptGap, TransactionResult

N = TypeVar("N", bound=Node)

BLOCKS_READ = 32
"""From the newest final one back, for one that is not empty."""


async def find_gaps(
    nodes: Nodes[N],
    final: Callable[[N], Awaitable[BlockRef]],
    read: Callable[[N, int], Awaitable[BlockContent | None]],
) -> Mapping[str, ReceiptGap]:
    """By node that lacks receipts of the newest final block with transactions, what it lacks. Nodes that do not answer
    are left out, and so are those whose last blocks are all empty: there is nothing to compare."""

    async def read_newest(node: N) -> ReceiptGap | None:
        newest = (await final(node)).number
        for number in range(newest, max(0, newest - BLOCKS_READ), -1):
            try:
                content = await read(node, number)
            except Partial as partial:
                return ReceiptGap(str(partial), everything=False)
            except NodeFailure as failure:
                if failure.code != "no receipts":
                    raise
                return ReceiptGap(str(failure), everything=True)
            if content is None or content.transactions or content.unreadable:
                return None
        return None

    return {name: gap for name, gap in (await nodes.ask_each(read_newest)).items() if gap is not None}


def content_of(
    node: Node,
    block: BlockRef,
    parent: str,
    listed: Collection[str],
    receipts: Collection[str],
    read: Callable[[str], TransactionResult],
) -> BlockContent:
    """A block with the results of its transactions, ``read`` by txid where there is a receipt. One that cannot be read
    is among the unreadable ones. Raises Partial, with what there is, where receipts are missing."""
    results, unreadable = [], set()
    missing = {txid for txid in listed if txid not in receipts}
    for txid in listed:
        if txid in missing:
            continue
        try:
            results.append(read(txid))
        except NodeFailure as failure:
            unreadable.add(txid)
            logger.debug("{}", failure)
    content = BlockContent(block, parent, tuple(results), frozenset(unreadable | missing))
    if missing:
        raise Partial(
            f"{node.name} lacks {len(missing)} of the {len(listed)} receipts of block {block.number}, {min(missing)} "
            "among them",
            content,
            len(missing),
        )
    return content
