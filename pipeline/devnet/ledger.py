"""Accounts and contracts, with an undo log so that any block can be taken back."""

from dataclasses import dataclass
from typing import Any

from pipeline.devnet.dynamic_energy import ContractState
from pipeline.devnet.permissions import Permissions
from pipeline.devnet.staking import NO_STAKE, Stake


@dataclass(frozen=True, slots=True)
class Account:
    """What TRON knows of an account beside its TRX, which the virtual machine holds. Slots are 3 s long."""

    created_ms: int
    free_net_used: int = 0
    """Bytes of the free daily allowance used, as of ``free_net_slot``."""
    free_net_slot: int = 0
    energy_used: int = 0
    """Energy of the account's own (staked) limit used, as of ``energy_slot``."""
    energy_slot: int = 0
    last_operation_ms: int = 0
    net_used: int = 0
    """Bytes of the staked daily limit used, as of ``net_slot``."""
    net_slot: int = 0
    stake: Stake = NO_STAKE
    name: bytes = b""
    account_id: bytes = b""
    permissions: Permissions | None = None
    """None: its own key alone may sign for it."""


@dataclass(frozen=True, slots=True)
class Contract:
    address: bytes
    created: Any
    """The SmartContract message of the transaction that created it, address and code hash filled in."""
    code: bytes
    """What its constructor returned."""


class Ledger:
    def __init__(self) -> None:
        self.accounts: dict[bytes, Account] = {}
        self.contracts: dict[bytes, Contract] = {}
        self.energy: dict[bytes, ContractState] = {}
        """By contract, as of its last successful call."""
        self._undo: list[tuple[dict[bytes, Any], bytes, Any]] = []

    def named(self, account_id: bytes) -> bytes | None:
        """The address of the account with that id. Slow; nobody asks often."""
        found = (address for address, account in self.accounts.items() if account.account_id == account_id)
        return next(found, None)

    def put_account(self, address: bytes, account: Account) -> None:
        self._put(self.accounts, address, account)

    def put_contract(self, contract: Contract) -> None:
        self._put(self.contracts, contract.address, contract)

    def put_energy(self, contract: bytes, state: ContractState) -> None:
        self._put(self.energy, contract, state)

    def mark(self) -> int:
        return len(self._undo)

    def rollback(self, mark: int) -> None:
        while len(self._undo) > mark:
            table, key, old = self._undo.pop()
            if old is None:
                del table[key]
            else:
                table[key] = old

    def _put(self, table: dict[bytes, Any], key: bytes, value: Any) -> None:
        self._undo.append((table, key, table.get(key)))
        table[key] = value
