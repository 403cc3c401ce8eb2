"""Doctor's questions to the nodes of a chain: their network, their blocks, and whether they agree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pipeline.admin.checks.chain_context import ChainContext
from pipeline.admin.checks.check import Check
from pipeline.admin.checks.findings import Findings
from pipeline.admin.errors import InvalidValue
from pipeline.admin.nodes import nodes_variable
from pipeline.catalog.access import access
from pipeline.chains.errors import ChainError, WrongNetwork
from pipeline.chains.provider import Provider
from pipeline.chains.rpc.http import NodeConfig, origin
from pipeline.chains.values import BlockRef, Family, Finality, MissingCapability
from pipeline.log import span

CHECKS = (
    Check("CHAIN.node", right="every node is of the right network and answers", cure="give the chain a node that does"),
    Check("CHAIN.receipts", right="every node keeps receipts", cure="use a node that keeps them, or name a second one"),
    Check(
        "CHAIN.cursor",
        right="no final block is recorded as read that the nodes do not have",
        cure="compare with a block explorer; DELETE FROM chain_cursors …",
    ),
)
"""What this module asks; ids begin with the name of the chain."""
STALE = timedelta(minutes=1)
"""A head block older than this: the node is behind, or the chain stands still."""
AHEAD = {Family.TRON: timedelta(minutes=1), Family.EVM: timedelta(hours=1)}
"""A block from further in the future: one of the clocks is wrong. On EVM chains nothing expires by the clock, and test
networks with fast blocks are ahead of it."""
APART_SECONDS = 60.0
"""Two nodes of a chain whose newest blocks are this far apart disagree, or one is behind."""
BLOCKS_BEYOND = 64
"""A cursor this far beyond the final blocks of every node was not read from them."""


@dataclass(frozen=True, slots=True)
class Heads:
    """What one node has."""

    head: BlockRef
    final: BlockRef


async def check_nodes(found: Findings, context: ChainContext) -> Provider | None:
    """Each node by itself; a provider over those that are right, None if there is none."""
    check = f"{context.name}.node"
    variable = nodes_variable(context.name)
    try:
        to = access(context.settings, context.name, context.chain["nodes"])
        nodes = [NodeConfig.parse(value) for value in to.nodes]
    except ValueError as error:
        found.fail(check, f"{context.name}: {error}", f"correct {variable} or chains.nodes")
        return None
    if not nodes:
        found.fail(
            check,
            f"{context.name} has no node",
            f"set {variable}, or: flagpost chains enable {context.name} --node URL",
        )
        return None
    if len(nodes) == 1:
        found.note(check, f"{context.name} has one node: while it does not answer, nothing is read and nothing is paid")
    answers = [(node, await _check_node(found, context, node)) for node in nodes]
    good = {node: heads for node, heads in answers if heads is not None}
    _compare_nodes(found, context, list(good.values()))
    return context.provider(list(good)) if good else None


def _compare_nodes(found: Findings, context: ChainContext, heads: Sequence[Heads]) -> None:
    """Whether nodes agree with each other, with the clock of the database, and with what was read of the chain."""
    if not heads:
        return
    check, now = f"{context.name}.node", datetime.now(UTC)
    newest = max(heads, key=lambda one: one.head.timestamp)
    oldest = min(heads, key=lambda one: one.head.timestamp)
    apart = (newest.head.timestamp - oldest.head.timestamp).total_seconds()
    if apart > APART_SECONDS:
        found.warn(
            check,
            f"the nodes of {context.name} disagree: the newest block of one is {newest.head.number}, of another "
            f"{oldest.head.number}, {apart:.0f} s older",
            "put the one that is ahead first, if it is right: compare it with a block explorer",
        )
    ahead = newest.head.timestamp - now
    if ahead > AHEAD[context.chain["family"]]:
        found.fail(
            check,
            f"the newest block of {context.name} is {span(ahead)} ahead of the clock of this machine: what is signed "
            "here has expired already",
            "set the clock (NTP); if it is right, the node is not: compare it with a block explorer",
        )
    if now - newest.head.timestamp > STALE:
        found.fail(
            check,
            f"every node of {context.name} is behind, or the chain has stopped: nothing becomes final",
            "compare with a block explorer; give the chain another node",
        )
    rows = context.examination.rows("chains_cursor", chain_id=context.chain["id"])
    highest = max(one.final.number for one in heads)
    if rows and rows[0]["block_number"] > highest + BLOCKS_BEYOND:
        found.fail(
            f"{context.name}.cursor",
            f"final blocks of {context.name} are recorded as read up to {rows[0]['block_number']}, and the nodes have "
            f"{highest}: nothing is settled",
            "compare with a block explorer; if the nodes are right, find out who wrote chain_cursors; delete the row",
        )
    elif rows:
        found.ok(f"{context.name}.cursor", f"final blocks read up to {rows[0]['block_number']}")


async def _check_node(found: Findings, context: ChainContext, node: NodeConfig) -> Heads | None:
    check, name = f"{context.name}.node", origin(node.url)
    try:
        provider = context.provider([node])
    except InvalidValue as error:
        found.fail(check, error.message, "correct chains.network_id")
        return None
    try:
        await provider.check_network()
        if not _offers_all(found, context, await provider.lacks()):
            return None
        head, final = await provider.block_ref(Finality.HEAD), await provider.block_ref(Finality.FINAL)
        gaps = await provider.receipt_gaps()
    except WrongNetwork as error:
        found.fail(check, str(error), "give this chain a node of its own network, or correct chains.network_id")
        return None
    except ChainError as error:
        found.fail(check, f"{name}: {error}", "check that the node runs and that the URL is its HTTP API")
        return None
    finally:
        await provider.close()
    behind = datetime.now(UTC) - head.timestamp
    if behind > STALE:
        found.warn(
            check,
            f"{name}: right network, but its newest block {head.number} is {span(behind)} old",
            "wait until the node has caught up, or use another one",
        )
    else:
        found.ok(check, f"{name}: right network, block {head.number}, final {final.number}")
    for gap in gaps.values():
        if gap.everything:
            found.fail(
                f"{context.name}.receipts",
                f"{gap.said}: what is paid on this chain would never be settled",
                f"use a node that keeps receipts: {nodes_variable(context.name)}, or flagpost chains enable "
                f"{context.name} --node URL",
            )
        else:
            found.warn(
                f"{context.name}.receipts",
                f"{gap.said}: a payment of ours among them could not be settled by this node",
                f"name a second node: {nodes_variable(context.name)}, or flagpost chains enable "
                f"{context.name} --node URL",
            )
    return Heads(head, final)


def _offers_all(found: Findings, context: ChainContext, lacking: Mapping[str, Sequence[MissingCapability]]) -> bool:
    """Whether a node can be worked with; what it lacks is said."""
    is_enough = True
    for name, lacks in lacking.items():
        for lack in lacks:
            said = f"{name} does not know {lack.what} (it says: {lack.said})"
            (found.fail if lack.is_essential else found.warn)(f"{context.name}.node", said, lack.without)
            is_enough = is_enough and not lack.is_essential
    return is_enough
