"""The virtual machine through py-evm, which is Python throughout: for Pythons that revm has no wheel for.

py-evm's opcodes and gas schedule, on accounts of our own: its own are tries that no block header asks for here,
and that cannot go back to any mark.
"""

from typing import Any

from eth.abc import ComputationAPI
from eth.constants import EMPTY_SHA3
from eth.exceptions import (
    FullStack,
    InsufficientFunds,
    InsufficientStack,
    InvalidInstruction,
    InvalidJumpDestination,
    OutOfGas,
    Revert,
    VMError,
)
from eth.vm.execution_context import ExecutionContext
from eth.vm.forks.frontier.transaction_context import FrontierTransactionContext
from eth.vm.forks.petersburg.state import PetersburgState
from eth.vm.message import Message
from eth_typing import Address, BlockNumber, Hash32

from pipeline.devnet.encoding import PREFIX, keccak256
from pipeline.devnet.vm import BLOCK_GAS_LIMIT, Execution, Log, Mark, Vm

_FAILURES: dict[type[VMError], tuple[str, str]] = {
    OutOfGas: ("OUT_OF_ENERGY", "Not enough energy for operation executing"),
    InvalidInstruction: ("ILLEGAL_OPERATION", "Invalid operation code"),
    InvalidJumpDestination: ("BAD_JUMP_DESTINATION", "Operation with pc isn't 'JUMPDEST'"),
    InsufficientStack: ("STACK_TOO_SMALL", "Expected stack size is larger than the current one"),
    FullStack: ("STACK_TOO_LARGE", "Expected: overflow 1024 elements stack limit"),
    InsufficientFunds: ("TRANSFER_FAILED", "transfer failure"),
}
_INVALID = 0xFE
"""The opcode that Solidity's old assertions end in; java-tron names it."""


class Accounts:
    """Balances, nonces, code and storage of all accounts, with an undo log.

    The part of py-evm's AccountDatabaseAPI that Petersburg's opcodes use.
    """

    state_root = Hash32(bytes(32))
    """Nobody asks for it; py-evm's snapshots carry it along."""

    def __init__(self, *_: Any) -> None:
        self.balances: dict[bytes, int] = {}
        self.codes: dict[bytes, bytes] = {}
        self._nonces: dict[bytes, int] = {}
        self._storage: dict[tuple[bytes, int], int] = {}
        self._undo: list[tuple[dict[Any, Any], Any, Any]] = []

    def record(self) -> int:
        return len(self._undo)

    def discard(self, mark: int) -> None:
        while len(self._undo) > mark:
            table, key, before = self._undo.pop()
            if before is None:
                table.pop(key, None)
            else:
                table[key] = before

    def commit(self, mark: int) -> None:
        """Whoever goes back to an earlier mark undoes what was committed too."""

    def get_balance(self, address: bytes) -> int:
        return self.balances.get(address, 0)

    def set_balance(self, address: bytes, balance: int) -> None:
        self._put(self.balances, address, balance)

    def get_nonce(self, address: bytes) -> int:
        return self._nonces.get(address, 0)

    def set_nonce(self, address: bytes, nonce: int) -> None:
        self._put(self._nonces, address, nonce)

    def increment_nonce(self, address: bytes) -> None:
        self.set_nonce(address, self.get_nonce(address) + 1)

    def get_code(self, address: bytes) -> bytes:
        return self.codes.get(address, b"")

    def set_code(self, address: bytes, code: bytes) -> None:
        self._put(self.codes, address, code)

    def get_code_hash(self, address: bytes) -> bytes:
        code = self.get_code(address)
        return keccak256(code) if code else EMPTY_SHA3

    def get_storage(self, address: bytes, slot: int, from_journal: bool = True) -> int:
        return self._storage.get((address, slot), 0)

    def set_storage(self, address: bytes, slot: int, value: int) -> None:
        self._put(self._storage, (address, slot), value)

    def delete_storage(self, address: bytes) -> None:
        for key in [key for key in self._storage if key[0] == address]:
            self._put(self._storage, key, 0)

    def account_exists(self, address: bytes) -> bool:
        return not self.account_is_empty(address)

    def account_has_code_or_nonce(self, address: bytes) -> bool:
        return bool(self._nonces.get(address) or self.codes.get(address))

    def account_is_empty(self, address: bytes) -> bool:
        return not (self.balances.get(address) or self.account_has_code_or_nonce(address))

    def touch_account(self, address: bytes) -> None:
        """Empty accounts leave no trace here."""

    def _put(self, table: dict[Any, Any], key: Any, value: Any) -> None:
        self._undo.append((table, key, table.get(key)))
        table[key] = value


class _State(PetersburgState):
    account_db_class = Accounts  # type: ignore[assignment]  # the part of it that is used


class PyEvm(Vm):
    def __init__(self) -> None:
        self._state = _State(None, _block(0, 0), Accounts.state_root)  # type: ignore[arg-type]  # no database below
        self._accounts: Accounts = self._state._account_db  # type: ignore[assignment]  # as account_db_class says

    def endow(self, address: bytes, sun: int) -> None:
        self._accounts.balances[address[1:]] = sun

    def set_block(self, number: int, timestamp_ms: int) -> None:
        self._state.execution_context = _block(number, timestamp_ms // 1000)

    def mark(self) -> Mark:
        return self._accounts.record()

    def rollback(self, mark: Mark) -> None:
        self._accounts.discard(mark)

    def balance(self, address: bytes) -> int:
        return self._accounts.get_balance(address[1:])

    def code(self, address: bytes) -> bytes:
        return self._accounts.get_code(address[1:])

    def transfer(self, sender: bytes, receiver: bytes, sun: int) -> None:
        self._state.delta_balance(Address(sender[1:]), -sun)
        self._state.delta_balance(Address(receiver[1:]), sun)

    def call(self, caller: bytes, contract: bytes, data: bytes, value: int, energy: int) -> Execution:
        sender, target = Address(caller[1:]), Address(contract[1:])
        code = self._accounts.get_code(target)
        message = Message(gas=energy, to=target, sender=sender, value=value, data=data, code=code)
        context = FrontierTransactionContext(gas_price=0, origin=sender)
        try:
            done = self._state.computation_class.apply_message(self._state, message, context)
        except InsufficientFunds as error:
            return _failed(error, code, 0, energy)
        if done.is_error:
            if isinstance(done.error, Revert):
                return Execution("REVERT", done.get_gas_used(), done.output, (), "REVERT opcode executed")
            return _failed(done.error, code, done.code.program_counter, energy)
        return Execution("SUCCESS", done.get_gas_used(), done.output, _logs(done))

    def accounts_with_balance(self) -> list[bytes]:
        return [PREFIX + address for address, sun in self._accounts.balances.items() if sun]

    def _put_code(self, address: bytes, code: bytes) -> None:
        self._accounts.set_code(address[1:], code)
        self._accounts.set_nonce(address[1:], 1)


def _block(number: int, timestamp: int) -> ExecutionContext:
    return ExecutionContext(
        coinbase=Address(bytes(20)),
        timestamp=timestamp,
        block_number=BlockNumber(number),
        difficulty=0,
        mix_hash=Hash32(bytes(32)),
        gas_limit=BLOCK_GAS_LIMIT,
        prev_hashes=(),
        chain_id=1,
    )


def _failed(error: VMError, code: bytes, after: int, energy: int) -> Execution:
    """``after``: the place after the opcode that failed."""
    status, message = _FAILURES.get(type(error), ("UNKNOWN", str(error)[:200]))
    if type(error) is InvalidInstruction and code[after - 1] == _INVALID:
        message += ": opCode[fe]"
    return Execution(status, energy, b"", (), message)


def _logs(done: ComputationAPI) -> tuple[Log, ...]:
    return tuple(
        Log(PREFIX + address, tuple(topic.to_bytes(32, "big") for topic in topics), bytes(data))
        for address, topics, data in done.get_log_entries()
    )
