"""The virtual machine: contracts' byte code and every TRX balance, through pyrevm.

Sun are the EVM's wei, so that contracts read balances with BALANCE. pyrevm keeps one journal that is never
flushed: a mark is a place in it, and going back to any mark undoes everything since, in order. Nothing here
may therefore change state past the journal: ``set_balance`` does, and serves genesis and to give an account
back the balance it had when its code is put in place.

The gas schedule is Petersburg's: it has the TVM's SSTORE prices (20,000 for a fresh slot, 5,000 otherwise,
whatever the transaction did before), which later schedules do not. Opcodes that came after it (CHAINID,
SELFBALANCE, BASEFEE, PUSH0) are invalid here: compile for paris and leave ``address(this).balance`` alone.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pyrevm import EVM, AccountInfo, BlockEnv, CfgEnv, Env

from pipeline.devnet.encoding import evm_address, from_evm

_CALL_GAS = 21_000
"""What the EVM charges a transaction before its first opcode. The TVM does not."""
_SAVE_CODE_ENERGY = 200
"""Per byte of a created contract's code."""
_GAS_CAP = 10**15
_SCRATCH = "0x000000000000000000000000000000005c7a7c11"
"""Where constructors run that are only simulated."""
_OUTPUT = re.compile(r"output: 0x([0-9a-f]*)")
_GAS_USED = re.compile(r"gas_used: (\d+)")
_HALTS = {
    "OutOfGas": ("OUT_OF_ENERGY", "Not enough energy for operation executing"),
    "OpcodeNotFound": ("ILLEGAL_OPERATION", "Invalid operation code"),
    "InvalidFEOpcode": ("ILLEGAL_OPERATION", "Invalid operation code: opCode[fe]"),
    "NotActivated": ("ILLEGAL_OPERATION", "Invalid operation code"),
    "InvalidJump": ("BAD_JUMP_DESTINATION", "Operation with pc isn't 'JUMPDEST'"),
    "StackUnderflow": ("STACK_TOO_SMALL", "Expected stack size is larger than the current one"),
    "StackOverflow": ("STACK_TOO_LARGE", "Expected: overflow 1024 elements stack limit"),
    "OutOfFunds": ("TRANSFER_FAILED", "transfer failure"),
}

Mark = Any
"""A place in the journal (pyrevm's checkpoint)."""


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


class Vm:
    def __init__(self) -> None:
        config = CfgEnv(chain_id=1, limit_contract_code_size=2**31)
        self._evm = EVM(env=Env(cfg=config), gas_limit=_GAS_CAP, spec_id="Petersburg")
        self._evm.set_balance(_SCRATCH, 0)

    def endow(self, address: bytes, sun: int) -> None:
        """Genesis only: cannot be undone."""
        self._evm.set_balance(evm_address(address), sun)

    def set_block(self, number: int, timestamp_ms: int) -> None:
        self._evm.set_block_env(BlockEnv(number=number, timestamp=timestamp_ms // 1000, gas_limit=_GAS_CAP))

    def mark(self) -> Mark:
        mark = self._evm.snapshot()
        self._evm.commit()  # only lowers the call depth again; the journal keeps the place
        return mark

    def rollback(self, mark: Mark) -> None:
        self._evm.snapshot()  # revert lowers the depth by one, so raise it first
        self._evm.revert(mark)

    def balance(self, address: bytes) -> int:
        return int(self._evm.get_balance(evm_address(address)))

    def transfer(self, sender: bytes, receiver: bytes, sun: int) -> None:
        """Move TRX to an account without code. The caller has checked balance and receiver."""
        if sun:
            self._evm.message_call(evm_address(sender), evm_address(receiver), value=sun, gas=_CALL_GAS)

    def call(self, caller: bytes, contract: bytes, data: bytes, value: int, energy: int) -> Execution:
        """Run ``contract`` with at most ``energy``."""
        return self._run(evm_address(caller), evm_address(contract), data, value, energy)

    def create(self, caller: bytes, address: bytes, code: bytes, value: int, energy: int) -> Execution:
        """Run creation code at the address where TRON puts the contract, and keep what it returns as its code."""
        target = evm_address(address)
        held = self.balance(address)  # loads the account, so that the journal can forget it again
        self._evm.insert_account_info(target, AccountInfo(nonce=1, code=code))
        if held:
            self._evm.set_balance(target, held)
        done = self._run(evm_address(caller), target, b"", value, energy)
        spent = done.energy + _SAVE_CODE_ENERGY * len(done.output)
        if not done.success:
            return done
        if spent > energy:
            return Execution("OUT_OF_ENERGY", energy, b"", (), "save just created contract code: not enough energy")
        held = self.balance(address)
        self._evm.insert_account_info(target, AccountInfo(nonce=1, code=done.output))
        if held:
            self._evm.set_balance(target, held)
        return Execution("SUCCESS", spent, done.output, done.logs)

    def code(self, address: bytes) -> bytes:
        return self._evm.get_code(evm_address(address)) or b""

    def accounts_with_balance(self) -> list[bytes]:
        """Every account the machine has seen that holds TRX. Slow; for calls that may have moved TRX."""
        return [from_evm(a.lower()) for a, info in self._evm.journal_state.items() if info.balance > 0]

    @contextmanager
    def simulation(self) -> Iterator[None]:
        """Whatever runs inside is undone at the end."""
        mark = self._evm.snapshot()
        try:
            yield
        finally:
            self._evm.revert(mark)

    def simulate_create(self, caller: bytes, code: bytes, value: int, energy: int) -> Execution:
        with self.simulation():
            return self.create(caller, from_evm(_SCRATCH), code, value, energy)

    def _run(self, caller: str, target: str, data: bytes, value: int, energy: int) -> Execution:
        intrinsic = _CALL_GAS + sum(68 if byte else 4 for byte in data)
        try:
            output = self._evm.message_call(caller, target, data, value or None, gas=energy + intrinsic)
        except RuntimeError as error:
            return self._failed(str(error), intrinsic, energy)
        result: Any = self._evm.result
        logs = tuple(_log(entry) for entry in result.logs)
        # The TVM has no refunds.
        spent = result.gas_used + result.gas_refunded - intrinsic
        return Execution("SUCCESS", spent, bytes(output), logs)

    def _failed(self, error: str, intrinsic: int, energy: int) -> Execution:
        gas = _GAS_USED.search(error)
        if error.startswith("Revert") and gas:
            output = _OUTPUT.search(error)
            data = bytes.fromhex(output.group(1)) if output else b""
            return Execution("REVERT", int(gas.group(1)) - intrinsic, data, (), "REVERT opcode executed")
        for reason, (status, message) in _HALTS.items():
            if reason in error:
                return Execution(status, energy, b"", (), message)
        return Execution("UNKNOWN", energy, b"", (), error[:200])


def _log(entry: Any) -> Log:
    topics, data = entry.data
    return Log(from_evm(entry.address.lower()), tuple(bytes(topic) for topic in topics), bytes(data))
