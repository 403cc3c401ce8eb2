"""What a node answers to a call that is only tried out (``triggerconstantcontract``)."""

from dataclasses import dataclass
from typing import Any

from pipeline.chains.rpc.answers import MalformedAnswer, field, hex_bytes, mapping, reading, sequence, text, whole
from pipeline.chains.tron.rpc.blocks import log_transfer
from pipeline.chains.tron.rpc.node import TronNode, decoded_message
from pipeline.chains.values import Effect

_MOST_RETURNED = 16
"""Results of one call; there is one."""
_MOST_LOGS = 1_000
"""Of one call."""


@dataclass(frozen=True, slots=True)
class Tried:
    """A call as the node carried it out."""

    accepted: bool
    """The node ran it. A call that reverts is accepted, too."""
    failed: bool
    """The contract reverted, or ran out of something."""
    code: str
    """The node's word for why it did not run the call; empty where it did."""
    message: str
    """Of the node or of the contract, safe to show."""
    returned: bytes
    energy: int
    """Used, the penalty of popular contracts included."""
    penalty: int
    """Of the energy; 0 from nodes that do not tell."""
    transfers: tuple[Effect, ...]
    """Tokens that it moved, by its Transfer logs."""

    @property
    def succeeded(self) -> bool:
        return self.accepted and not self.failed and not self.code


def tried(node: TronNode, answer: Any, what: str) -> Tried:
    """Take an answer apart; ``what`` was called. Raises NodeFailure for one of another form."""
    with reading(node, what):
        result = field(answer, "result")
        said = {} if result is None else mapping(result, "result")
        accepted = said.get("result")
        if accepted is not None and not isinstance(accepted, bool):
            raise MalformedAnswer("result", accepted, "true or false")
        outputs = field(answer, "constant_result")
        returned = [] if outputs is None else sequence(outputs, "constant_result", _MOST_RETURNED)
        return Tried(
            accepted=bool(accepted),
            failed=any(field(ret, "ret") == "FAILED" for ret in _rets(answer)),
            code=text(said.get("code"), "code"),
            message=decoded_message(said.get("message")),
            returned=hex_bytes(returned[0], "constant_result") if returned else b"",
            energy=whole(field(answer, "energy_used"), "energy_used", missing=0),
            penalty=whole(field(answer, "energy_penalty"), "energy_penalty", missing=0),
            transfers=_transfers(answer),
        )


def _transfers(answer: Any) -> tuple[Effect, ...]:
    """Raises MalformedAnswer."""
    logs = field(answer, "logs")
    if logs is None:
        return ()
    found = (log_transfer(log, f"l{position}") for position, log in enumerate(sequence(logs, "logs", _MOST_LOGS)))
    return tuple(effect for effect in found if effect is not None)


def _rets(answer: Any) -> list[Any]:
    """Raises MalformedAnswer."""
    transaction = field(answer, "transaction")
    rets = None if transaction is None else field(transaction, "ret")
    return [] if rets is None else sequence(rets, "ret", _MOST_RETURNED)
