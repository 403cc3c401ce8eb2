"""JSON-RPC: what a request is, and what of an answer is its result, its error, or no answer at all."""

from collections.abc import Sequence
from typing import Any

from pipeline.chains.rpc.answers import MalformedAnswer, mapping, text
from pipeline.chains.rpc.http import JsonObject, Node, NodeFailure
from pipeline.printable import printable, shown

Request = tuple[str, Sequence[Any]]

REVERTED = 3
METHOD_NOT_FOUND = -32601
LIMIT_EXCEEDED = -32005
"""Of vendors: too many requests; at eth_getLogs also a range or result that is too large."""
RESPONSE_TOO_LARGE = -32003
"""geth: of a batch, what came after its answers had 25 MB."""

_RATE_WORDS = ("rate limit", "too many requests", "request limit", "requests per second", "capacity", "quota")
_SHOWN = 200
"""Characters of a node's words in an error."""


class RpcError(NodeFailure):
    """A JSON-RPC error. Where it is an answer to the question (a revert, a refusal) the caller catches it; where it
    is not, it is one more failure of this node."""

    def __init__(self, node: str, method: str, code: int, message: str, data: Any = None) -> None:
        super().__init__(f"rpc {code}", f"{node} answered {method} with error {code}: {printable(message, _SHOWN)}")
        self.rpc_code = code
        self.reason = message
        """The node's words alone."""
        self.data = data
        """What a reverting contract returned, as hex digits, where the node says so."""


class RateLimited(NodeFailure):
    """A JSON-RPC error that says to ask less often."""

    def __init__(self, node: str, method: str, code: int, message: str) -> None:
        super().__init__("rate limit", f"{node} answered {method} with error {code}: {printable(message, _SHOWN)}")
        self.reason = message


def body_of(number: int, method: str, params: Sequence[Any]) -> JsonObject:
    """A request with the id ``number``."""
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": list(params)}


def result_of(node: Node, method: str, answer: Any) -> Any:
    """The ``result`` of an answer. Raises RpcError, RateLimited, NodeFailure for what is no answer."""
    if not isinstance(answer, dict) or ("result" not in answer and not answer.get("error")):
        raise NodeFailure("shape", f"{node.name} answered {method} in an unknown form: {shown(answer)}")
    error = answer.get("error")
    if not error:
        return answer["result"]
    code, message, data = _error(error)
    if _about_rate(method, code, message):
        raise RateLimited(node.name, method, code, message)
    raise RpcError(node.name, method, code, message, data)


def wanted(answer: Any) -> Any:
    """Return the result of one call of a batch, or raise its RPC error."""
    if isinstance(answer, NodeFailure):
        raise answer
    return answer


def _error(error: Any) -> tuple[int, str, Any]:
    """Code, words and data of an error. One of an unknown form is one without a code: some vendors send text."""
    try:
        fields = mapping(error, "error")
        code = fields.get("code", 0)
        code = code if type(code) is int and abs(code) < 2**31 else 0
        return code, text(fields.get("message"), "message") or f"error {code}", fields.get("data")
    except MalformedAnswer:
        return 0, printable(error) if isinstance(error, str) else shown(error), None


def _about_rate(method: str, code: int, message: str) -> bool:
    said = message.lower()
    if "batch" in said:
        return False
    if code == 429:
        return True
    if code == LIMIT_EXCEEDED and method != "eth_getLogs":
        return True
    return code < 0 and any(word in said for word in _RATE_WORDS)
