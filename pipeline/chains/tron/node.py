"""A TRON node: java-tron's HTTP interface, with its ways of saying no."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pipeline.chains.errors import LyingNode, WrongNetwork
from pipeline.chains.http import JsonObject, Node, NodeFailure, origin
from pipeline.chains.provider import BlockRef, Finality
from pipeline.chains.tron.transaction import from_milliseconds


class TronNode(Node):
    """java-tron over HTTP. ``{"Error": …}`` with status 200 is a NodeFailure here; ``{}`` is left to the caller."""

    has_block_headers = True
    """Whether ``getblock`` without transactions is known to this node (java-tron 4.7); else whole blocks are read."""
    last_final_block: BlockRef | None = None
    """Of the last balance call, which most often finds the same one again."""

    async def call(self, method: str, finality: Finality, body: JsonObject | None = None) -> Any:
        """``wallet/<method>`` for HEAD, ``walletsolidity/<method>`` for FINAL."""
        final = finality is Finality.FINAL
        path = f"walletsolidity/{method}" if final else f"wallet/{method}"
        answer = await self.post(path, body or {}, solidity=final)
        if isinstance(answer, dict) and "Error" in answer:
            raise NodeFailure("node error", f"{self.name} answered {path} with an error: {str(answer['Error'])[:200]}")
        return answer

    async def block_ref(self, finality: Finality, number: int | None = None) -> BlockRef:
        """The newest block of that finality, or the one at ``number``. Raises LyingNode for another number."""
        if self.has_block_headers:
            body: JsonObject = {"detail": False} | ({} if number is None else {"id_or_num": str(number)})
            try:
                return self._ref(await self.call("getblock", finality, body), number)
            except NodeFailure as failure:
                if failure.code not in ("http 404", "http 405"):
                    raise
                self.has_block_headers = False
        if number is None:
            return self._ref(await self.call("getnowblock", finality), None)
        return self._ref(await self.call("getblockbynum", finality, {"num": number}), number)

    def _ref(self, answer: Any, number: int | None) -> BlockRef:
        if answer == {}:
            raise NodeFailure("no block", f"{self.name} does not have block {'(newest)' if number is None else number}")
        return block_ref(self, answer, number)


async def check_genesis(node: TronNode, genesis: str) -> None:
    """Compare block 0 with ``genesis``, at the solidity address too where that is another place.

    Raises WrongNetwork, NodeFailure.
    """
    places = [Finality.HEAD] if node.config.solidity_url is None else [Finality.HEAD, Finality.FINAL]
    for finality in places:
        answer = await node.call("getblockbynum", finality, {"num": 0})
        with reading(node, "block 0"):
            found = str(answer["blockID"])
        if found != genesis:
            place = origin(node.config.solidity if finality is Finality.FINAL else node.config.url)
            raise WrongNetwork(
                f"node {place} belongs to another network: its genesis block is {found}, "
                f"this chain's is {genesis}; correct chains.nodes or chains.network_id"
            )


def block_ref(node: TronNode, answer: Any, number: int | None) -> BlockRef:
    """The block that an answer describes. Raises LyingNode when it is not ``number`` or its id is another's."""
    with reading(node, "a block"):
        header = answer["block_header"]["raw_data"]
        found, block_id = int(header.get("number", 0)), str(answer["blockID"]).lower()
        timestamp = from_milliseconds(int(header.get("timestamp", 0)))
        id_number = int(block_id[:16], 16) if len(block_id) == 64 else -1
    if number is not None and found != number:
        raise LyingNode(f"node {node.name} was asked for block {number} and answered block {found}")
    if id_number != found:
        raise LyingNode(f"node {node.name} gives block {found} the id {block_id}, which is not of that height")
    return BlockRef(found, block_id, timestamp)


@contextmanager
def reading(node: Node, what: str) -> Iterator[None]:
    """Around code that takes an answer apart: one of another shape becomes a NodeFailure."""
    try:
        yield
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise NodeFailure(
            "shape", f"{node.name} answered {what} in an unknown form ({type(error).__name__}: {error})"
        ) from error


def is_no_contract(message: str) -> bool:
    """Whether a refusal says that nothing is deployed at an address, in the words of whatever version of java-tron."""
    return any(words in message.lower() for words in ("not exist", "not a valid smart contract"))


def decoded_message(value: object) -> str:
    """A message of java-tron, which is sometimes text and sometimes its hex."""
    text = str(value or "")
    try:
        plain = bytes.fromhex(text).decode()
    except ValueError:
        return text
    return plain if plain.isprintable() else text
