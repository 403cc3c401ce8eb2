"""A TRON node: java-tron's HTTP interface, with its ways of saying no."""

from hashlib import sha256
from typing import Any

from pipeline.chains.errors import InconsistentNode, WrongNetwork
from pipeline.chains.rpc.answers import MAX_HEIGHT, MAX_INT32, MAX_INT64, bare_hash, field, hex_bytes, moment, whole
from pipeline.chains.rpc.answers import reading as reading
from pipeline.chains.rpc.http import JsonObject, Node, NodeFailure, origin
from pipeline.chains.rpc.wire import ANSWER_LIMIT, BLOCK_LIMIT
from pipeline.chains.tron.codec import messages
from pipeline.chains.tron.codec.transaction import from_milliseconds
from pipeline.chains.values import BlockRef, Finality
from pipeline.printable import printable, shown

_LARGE = frozenset({"getblock", "getblockbynum", "gettransactioninfobyblocknum", "gettransactioninfobyid"})
"""Methods whose answers grow with a block."""

_HEADER = {
    "timestamp": MAX_INT64,
    "txTrieRoot": None,
    "parentHash": None,
    "number": MAX_INT64,
    "witness_id": MAX_INT64,
    "witness_address": None,
    "version": MAX_INT32,
    "accountStateRoot": None,
}
"""Fields of a block's header as java-tron prints them (core/Tron.proto): the largest number, None for bytes."""
_OF_EVERY_HEADER = frozenset({"timestamp", "txTrieRoot", "parentHash", "number", "witness_address"})


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
        answer = await self.post(
            path, body or {}, solidity=final, limit=BLOCK_LIMIT if method in _LARGE else ANSWER_LIMIT
        )
        if isinstance(answer, dict) and "Error" in answer:
            error = answer["Error"]
            said = printable(error, 200) if isinstance(error, str) else shown(error)
            raise NodeFailure("node error", f"{self.name} answered {path} with an error: {said}")
        return answer

    async def block_ref(self, finality: Finality, number: int | None = None) -> BlockRef:
        """The newest block of that finality, or the one at ``number``. Raises InconsistentNode for another number."""
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
            found = bare_hash(field(answer, "blockID"), "blockID")
        if found != genesis:
            place = origin(node.config.solidity if finality is Finality.FINAL else node.config.url)
            raise WrongNetwork(
                f"node {place} belongs to another network: its genesis block is {found}, "
                f"this chain's is {genesis}; correct chains.nodes or chains.network_id"
            )


def block_ref(node: TronNode, answer: Any, number: int | None) -> BlockRef:
    """The block that an answer describes. Raises InconsistentNode when it is not ``number`` or its id is another's."""
    with reading(node, "a block"):
        header = field(field(answer, "block_header"), "raw_data")
        # A value of 0 is left out of java-tron's JSON: block 0 has neither.
        found = whole(field(header, "number"), "number", MAX_HEIGHT, missing=0)
        block_id = bare_hash(field(answer, "blockID"), "blockID")
        milliseconds = whole(field(header, "timestamp"), "timestamp", missing=0)
        moment(milliseconds / 1000, node.now, "timestamp")
    if number is not None and found != number:
        raise InconsistentNode(f"node {node.name} was asked for block {number} and answered block {found}")
    if int(block_id[:16], 16) != found:
        raise InconsistentNode(f"node {node.name} gives block {found} the id {block_id}, which is not of that height")
    with reading(node, "a block's header"):
        computed = _id_of(header, found)
    if computed not in (None, block_id):
        raise InconsistentNode(f"node {node.name} gives block {found} the id {block_id}, its header has {computed}")
    return BlockRef(found, block_id, from_milliseconds(milliseconds))


def _id_of(header: dict[str, Any], number: int) -> str | None:
    """The id that a header has: its height, and the rest of the hash of its bytes. None for block 0, which is no block
    like the others, and for a header of which not every field is known and there. Raises MalformedAnswer."""
    if number == 0 or not header.keys() <= _HEADER.keys() or not header.keys() >= _OF_EVERY_HEADER:
        return None
    fields = {}
    for name, value in header.items():
        most = _HEADER[name]
        fields[name] = hex_bytes(value, name) if most is None else whole(value, name, most)
    hashed = sha256(messages.BlockHeader(**fields).SerializeToString(deterministic=True)).hexdigest()
    return f"{number:016x}{hashed[16:]}"


def is_no_contract(message: str) -> bool:
    """Whether a refusal says that nothing is deployed at an address, in the words of whatever version of java-tron."""
    return any(words in message.lower() for words in ("not exist", "not a valid smart contract"))


def decoded_message(value: object) -> str:
    """A message of java-tron, which is sometimes text and sometimes its hex, safe to show."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return shown(value)
    try:
        plain = bytes.fromhex(value).decode()
    except ValueError:
        return printable(value)
    return printable(plain) if plain.isprintable() else printable(value)
