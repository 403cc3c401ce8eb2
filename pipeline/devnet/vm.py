"""The virtual machine: contracts' byte code and every TRX balance.

Two machines do the work, and one suite holds them to the same answers: revm (``revm.py``) where it has a wheel,
py-evm (``pyevm.py``) on the Pythons where it has none. Both keep everything since genesis undoable: a mark is
a place in the past, and going back to any mark undoes what came after it.

Sun are the EVM's wei, so that contracts read balances with BALANCE. The gas schedule is Petersburg's: it has
the TVM's SSTORE prices (20,000 for a fresh slot, 5,000 otherwise, whatever the transaction did before), which
later schedules do not. Opcodes that came after it (CHAINID, SELFBALANCE, BASEFEE) are invalid here: leave
``address(this).balance`` alone. PUSH0 and what TRON's own compiler adds to every contract work (``tvm_code.py``).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pipeline.devnet.encoding import PREFIX
from pipeline.devnet.tvm_code import runnable

BLOCK_GAS_LIMIT = 10**15
SAVE_CODE_ENERGY = 200
"""Per byte of a created contract's code."""
_SCRATCH = PREFIX + bytes.fromhex("000000000000000000000000000000005c7a7c11")
"""Where constructors run that are only simulated."""

Mark = Any
"""A place in the machine's past."""


@dataclass(frozen=True, slots=True)
class Log:
    address: bytes
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Execution:
    """How a call ended. Energy is without the dynamic penalty."""

    status: str
    """``SUCCESS``, ``REVERT``, ``OUT_OF_ENERGY``, … (java-tron's contractResult)."""
    energy: int
    output: bytes
    logs: tuple[Log, ...]
    message: str = ""

    @property
    def success(self) -> bool:
        return self.status == "SUCCESS"


class Vm(ABC):
    """Addresses are TRON's 21 bytes, amounts sun."""

    @abstractmethod
    def endow(self, address: bytes, sun: int) -> None:
        """Genesis only: cannot be undone."""

    @abstractmethod
    def set_block(self, number: int, timestamp_ms: int) -> None:
        """What NUMBER and TIMESTAMP say from now on."""

    @abstractmethod
    def mark(self) -> Mark:
        """This place; good until it, or one before it, is gone back to."""

    @abstractmethod
    def rollback(self, mark: Mark) -> None:
        """Undo everything since ``mark``, and spend it."""

    @abstractmethod
    def balance(self, address: bytes) -> int:
        """Sun."""

    @abstractmethod
    def code(self, address: bytes) -> bytes:
        """As the machine runs it (``tvm_code.runnable``); empty for an account that is no contract."""

    @abstractmethod
    def transfer(self, sender: bytes, receiver: bytes, sun: int) -> None:
        """Move TRX to an account without code. The caller has checked balance and receiver."""

    @abstractmethod
    def call(self, caller: bytes, contract: bytes, data: bytes, value: int, energy: int) -> Execution:
        """Run ``contract`` with at most ``energy``."""

    @abstractmethod
    def accounts_with_balance(self) -> list[bytes]:
        """Every account the machine has seen that holds TRX. Slow; for calls that may have moved TRX."""

    @abstractmethod
    def _put_code(self, address: bytes, code: bytes) -> None:
        """Make ``address`` a contract with ``code``, its balance untouched."""

    def create(self, caller: bytes, address: bytes, code: bytes, value: int, energy: int) -> Execution:
        """Run creation code at the address where TRON puts the contract, and keep what it returns as its code."""
        self._put_code(address, runnable(code, creates=False))
        done = self.call(caller, address, b"", value, energy)
        if not done.success:
            return done
        spent = done.energy + SAVE_CODE_ENERGY * len(done.output)
        if spent > energy:
            return Execution("OUT_OF_ENERGY", energy, b"", (), "save just created contract code: not enough energy")
        self._put_code(address, runnable(done.output))
        return Execution("SUCCESS", spent, done.output, done.logs)

    @contextmanager
    def simulation(self) -> Iterator[None]:
        """Whatever runs inside is undone at the end."""
        mark = self.mark()
        try:
            yield
        finally:
            self.rollback(mark)

    def simulate_create(self, caller: bytes, code: bytes, value: int, energy: int) -> Execution:
        with self.simulation():
            return self.create(caller, _SCRATCH, code, value, energy)
