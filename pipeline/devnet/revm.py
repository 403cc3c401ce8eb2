"""The virtual machine through pyrevm: revm, in Rust.

pyrevm keeps one journal that is never flushed, and a mark is a place in it. Nothing here may therefore change
state past the journal: ``set_balance`` does, and serves genesis and to give an account back the balance it had
when its code is put in place.
"""

import re
from typing import Any

from pyrevm import EVM, AccountInfo, BlockEnv, CfgEnv, Env

from pipeline.devnet.encoding import evm_address, from_evm
from pipeline.devnet.vm import BLOCK_GAS_LIMIT, Execution, Log, Mark, Vm

_CALL_GAS = 21_000
"""What the EVM charges a transaction before its first opcode. The TVM does not."""
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
    "LackOfFund": ("TRANSFER_FAILED", "transfer failure"),
}


class Revm(Vm):
    def __init__(self) -> None:
        config = CfgEnv(chain_id=1, limit_contract_code_size=2**31)
        self._evm = EVM(env=Env(cfg=config), gas_limit=BLOCK_GAS_LIMIT, spec_id="Petersburg")

    def endow(self, address: bytes, sun: int) -> None:
        self._evm.set_balance(evm_address(address), sun)

    def set_block(self, number: int, timestamp_ms: int) -> None:
        self._evm.set_block_env(BlockEnv(number=number, timestamp=timestamp_ms // 1000, gas_limit=BLOCK_GAS_LIMIT))

    def mark(self) -> Mark:
        mark = self._evm.snapshot()
        self._evm.commit()  # only lowers the call depth again; the journal keeps the place
        return mark

    def rollback(self, mark: Mark) -> None:
        self._evm.snapshot()  # revert lowers the depth by one, so raise it first
        self._evm.revert(mark)

    def balance(self, address: bytes) -> int:
        return int(self._evm.get_balance(evm_address(address)))

    def code(self, address: bytes) -> bytes:
        return self._evm.get_code(evm_address(address)) or b""

    def transfer(self, sender: bytes, receiver: bytes, sun: int) -> None:
        if sun:
            self._evm.message_call(evm_address(sender), evm_address(receiver), value=sun, gas=_CALL_GAS)

    def call(self, caller: bytes, contract: bytes, data: bytes, value: int, energy: int) -> Execution:
        intrinsic = _CALL_GAS + sum(68 if byte else 4 for byte in data)
        try:
            output = self._evm.message_call(
                evm_address(caller), evm_address(contract), data, value or None, gas=energy + intrinsic
            )
        except RuntimeError as error:
            return _failed(str(error), intrinsic, energy)
        result: Any = self._evm.result
        logs = tuple(_log(entry) for entry in result.logs)
        # The TVM has no refunds.
        spent = result.gas_used + result.gas_refunded - intrinsic
        return Execution("SUCCESS", spent, bytes(output), logs)

    def accounts_with_balance(self) -> list[bytes]:
        return [from_evm(a.lower()) for a, info in self._evm.journal_state.items() if info.balance > 0]

    def _put_code(self, address: bytes, code: bytes) -> None:
        held = self.balance(address)  # loads the account, so that the journal can forget it again
        self._evm.insert_account_info(evm_address(address), AccountInfo(nonce=1, code=code))
        if held:
            self._evm.set_balance(evm_address(address), held)


def _failed(error: str, intrinsic: int, energy: int) -> Execution:
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
