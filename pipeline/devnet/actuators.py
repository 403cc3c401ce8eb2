"""What transactions do that neither pay nor call a contract, each as java-tron's actuator of that name has it.

Each returns what it costs beyond its bytes, in sun, and raises Rejected.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from pipeline.devnet.encoding import is_address
from pipeline.devnet.ledger import Ledger
from pipeline.devnet.messages import SmartContract
from pipeline.devnet.params import BlockEnv
from pipeline.devnet.permissions import updated
from pipeline.devnet.staking import Holder, freeze, unfreeze, withdraw
from pipeline.devnet.transactions import Code, Rejected, invalid

_LONGEST_NAME = 200


class Actable(Holder, Protocol):
    """The state as far as actuators change it."""

    ledger: Ledger

    def burn(self, owner: bytes, sun: int) -> None:
        """Take ``sun`` out of circulation."""

    def activate(self, address: bytes, env: BlockEnv) -> None:
        """Make ``address`` an account."""


def _update_permissions(state: Actable, owner: bytes, contract: Any, env: BlockEnv) -> int:
    permissions, fee = updated(contract), env.params.permission_fee
    if state.balance(owner) < fee:
        raise Rejected(Code.CONTRACT_EXE_ERROR, f"Contract execute error : {owner.hex()} insufficient balance")
    state.burn(owner, fee)
    state.ledger.put_account(owner, replace(state.ledger.accounts[owner], permissions=permissions))
    return fee


def _update_account(state: Actable, owner: bytes, contract: Any, env: BlockEnv) -> int:
    name = bytes(contract.account_name)
    if len(name) > _LONGEST_NAME:
        raise invalid("Invalid accountName")
    account = state.ledger.accounts[owner]
    if account.name:
        raise invalid("This account name is already existed")
    state.ledger.put_account(owner, replace(account, name=name))
    return 0


def _set_account_id(state: Actable, owner: bytes, contract: Any, env: BlockEnv) -> int:
    wanted = bytes(contract.account_id)
    if not 8 <= len(wanted) <= 32 or not all(0x21 <= byte <= 0x7E for byte in wanted):
        raise invalid("Invalid accountId")
    account = state.ledger.accounts[owner]
    if account.account_id:
        raise invalid("This account id already set")
    if state.ledger.named(wanted) is not None:
        raise invalid("This id has existed")
    state.ledger.put_account(owner, replace(account, account_id=wanted))
    return 0


def _create_account(state: Actable, owner: bytes, contract: Any, env: BlockEnv) -> int:
    created, fee = bytes(contract.account_address), env.params.activation_fee
    if state.balance(owner) < fee:
        raise invalid("Validate CreateAccountActuator error, insufficient fee.")
    if not is_address(created):
        raise invalid("Invalid account address")
    if created in state.ledger.accounts:
        raise invalid("Account has existed")
    state.burn(owner, fee)
    state.activate(created, env)
    return fee


def _clear_abi(state: Actable, owner: bytes, contract: Any, env: BlockEnv) -> int:
    found = state.ledger.contracts.get(bytes(contract.contract_address))
    if found is None:
        raise invalid("Contract not exists")
    if bytes(found.created.origin_address) != owner:
        raise invalid(f"Account[{owner.hex()}] is not the owner of the contract")
    cleared = SmartContract()
    cleared.CopyFrom(found.created)
    cleared.ClearField("abi")
    cleared.abi.SetInParent()  # java-tron goes on printing it, empty
    state.ledger.put_contract(replace(found, created=cleared))
    return 0


def _old_freeze(state: Actable, owner: bytes, contract: Any, env: BlockEnv) -> int:
    raise invalid("freeze v2 is open, old freeze is closed")


def _free(act: Callable[[Actable, bytes, Any, BlockEnv], None]) -> Callable[[Actable, bytes, Any, BlockEnv], int]:
    def acting(state: Actable, owner: bytes, contract: Any, env: BlockEnv) -> int:
        act(state, owner, contract, env)
        return 0

    return acting


ACTUATORS: dict[str, Callable[[Actable, bytes, Any, BlockEnv], int]] = {
    "AccountPermissionUpdateContract": _update_permissions,
    "AccountUpdateContract": _update_account,
    "SetAccountIdContract": _set_account_id,
    "AccountCreateContract": _create_account,
    "ClearABIContract": _clear_abi,
    "FreezeBalanceContract": _old_freeze,
    "FreezeBalanceV2Contract": _free(freeze),
    "UnfreezeBalanceV2Contract": _free(unfreeze),
    "WithdrawExpireUnfreezeContract": _free(withdraw),
}
"""By kind of transaction."""
