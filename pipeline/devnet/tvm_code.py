"""Byte code of TRON's own compiler, made to run on machines that know Ethereum's opcodes only.

That compiler begins a contract whose functions take no coins by asking whether TRC10 tokens came with the call:
CALLTOKENVALUE and CALLTOKENID (java-tron, core/vm/Op.java; 2 energy each). This network has no such tokens, so that
both push zero always, and so does PUSH0. GASPRICE does exactly that here, in one byte and for 2 energy as well (the
price of gas is zero), and takes their place before code is run; ``getcontract`` shows what was sent.

A byte is changed only where code can get to, because what looks like an opcode may be a number, a text or an argument
of a constructor. What else the TVM has of its own (TOKENBALANCE, ISCONTRACT, FREEZE, …) stays what it is: an invalid
opcode.
"""

import re

_STANDS_FOR_ZERO = frozenset({0x5F, 0xD2, 0xD3})
"""PUSH0, CALLTOKENVALUE, CALLTOKENID."""
_GASPRICE = 0x3A
_JUMPDEST = 0x5B
_ENDS = frozenset({0x00, 0x56, 0xF3, 0xFD, 0xFE, 0xFF})
"""STOP, JUMP, RETURN, REVERT, INVALID, SELFDESTRUCT: what follows is reached by a jump or not at all."""
_BEGIN = re.compile(rb"(?:\x60[\x80\xa0\xc0\xe0]|\x61..)\x60\x40\x52", re.DOTALL)
"""How Solidity's code begins, by putting down where free memory is: in a contract that creates others, theirs as
well."""


def runnable(code: bytes, *, creates: bool = True) -> bytes:
    """``code`` with GASPRICE for each reachable opcode that pushes zero here; the same length.

    ``creates`` also prepares the creation code of other contracts that lies in it. In creation code itself that would
    be the contract's own, which is to be kept as it was sent.
    """
    if not any(opcode in code for opcode in _STANDS_FOR_ZERO):
        return code
    reached = _reachable(code)
    made = bytearray(code)
    for place in reached:
        if code[place] in _STANDS_FOR_ZERO:
            made[place] = _GASPRICE
    if creates and (begin := _BEGIN.search(code, max(reached) + 1)):
        made[begin.start() :] = runnable(code[begin.start() :])
    return bytes(made)


def _reachable(code: bytes) -> set[int]:
    """Where opcodes are run, as far as the code can tell: from its beginning, and from every JUMPDEST whose place is
    pushed as a constant by code that is run. Solidity pushes all places it jumps to, those it returns to as well."""
    opcodes = _Opcodes(code)
    reached: set[int] = set()
    waiting = [0]
    while waiting:
        place = waiting.pop()
        while place < len(code) and place not in reached:
            reached.add(place)
            opcode = code[place]
            size = _operand(opcode)
            if size:
                pushed = int.from_bytes(code[place + 1 : place + 1 + size], "big")
                if pushed < len(code) and code[pushed] == _JUMPDEST and pushed in opcodes:
                    waiting.append(pushed)
            if opcode in _ENDS:
                break
            place += 1 + size
    return reached


class _Opcodes:
    """The places of opcodes, as opposed to what PUSH takes; read only as far as somebody asks."""

    def __init__(self, code: bytes) -> None:
        self._code = code
        self._places: set[int] = set()
        self._next = 0

    def __contains__(self, place: int) -> bool:
        while self._next <= place:
            self._places.add(self._next)
            self._next += 1 + _operand(self._code[self._next])
        return place in self._places


def _operand(opcode: int) -> int:
    """Bytes that a PUSH takes from the code behind it."""
    return opcode - 0x5F if 0x60 <= opcode <= 0x7F else 0
