"""Who may sign for an account: java-tron's permissions (TransactionCapsule, AccountPermissionUpdateActuator)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pipeline.devnet.encoding import base58_address, is_address, recover
from pipeline.devnet.messages import Permission
from pipeline.devnet.transactions import Code, Rejected, WireTransaction, invalid

MOST_KEYS = 5
"""Signatures of a transaction, and keys of a permission (getTotalSignNum)."""
_MOST_ACTIVES = 8
_OWNER, _WITNESS, _ACTIVE = range(3)
"""PermissionType, and the ids of the first permission of each type."""
_AVAILABLE = bytes.fromhex("7fff1fc0037ec30f" + "00" * 24)
"""The contract types that a permission can name, a bit each (getAvailableContractType)."""
_DEFAULT_OPERATIONS = bytes.fromhex("7fff1fc0033ec307" + "00" * 24)


class Refused(Exception):
    """A permission does not allow it. ``code`` is ``TransactionSignWeight``'s."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Permissions:
    """What an account's owner has set; nobody changes the messages."""

    owner: Any
    actives: tuple[Any, ...]

    def by_id(self, wanted: int) -> Any:
        """Raises Refused."""
        for permission in (self.owner, *self.actives):
            if permission.id == wanted:
                return permission
        raise Refused("PERMISSION_ERROR", "permission isn't exit")


@lru_cache(maxsize=65_536)
def default(address: bytes) -> Permissions:
    """Of an account that never set any: its own key alone."""
    keys = [{"address": address, "weight": 1}]
    owner = Permission(permission_name="owner", threshold=1, keys=keys)
    active = Permission(
        type=_ACTIVE, id=2, permission_name="active", threshold=1, operations=_DEFAULT_OPERATIONS, keys=keys
    )
    return Permissions(owner, (active,))


def permission_of(tx: WireTransaction, permissions: Permissions) -> Any:
    """The one that a transaction names. Raises Refused when there is none or it does not cover such a contract."""
    contract = tx.message.raw_data.contract[0]
    permission = permissions.by_id(contract.Permission_id)
    if contract.Permission_id:
        if permission.type != _ACTIVE:
            raise Refused("PERMISSION_ERROR", "Permission type is error")
        if not _bit(permission.operations, contract.type):
            raise Refused("PERMISSION_ERROR", "Permission denied")
    return permission


def weigh(permission: Any, txid: bytes, signatures: Sequence[bytes]) -> tuple[list[bytes], int]:
    """Who has signed, and what that weighs. Raises Refused."""
    if len(signatures) > len(permission.keys):
        count, most = len(signatures), len(permission.keys)
        raise Refused("PERMISSION_ERROR", f"Signature count is {count} more than key counts of permission : {most}")
    weights = {bytes(key.address): key.weight for key in permission.keys}
    approved: list[bytes] = []
    for signature in signatures:
        if len(signature) < 65:
            raise Refused("SIGNATURE_FORMAT_ERROR", f"Signature size is {len(signature)}")
        try:
            signer = recover(txid, signature)
        except ValueError as error:
            raise Refused("COMPUTE_ADDRESS_ERROR", str(error)) from error
        shown = base58_address(signer)
        if signer not in weights:
            said = f"{signature.hex()} is signed by {shown} but it is not contained of permission."
            raise Refused("PERMISSION_ERROR", said)
        if signer in approved:
            raise Refused("PERMISSION_ERROR", f"{shown} has signed twice!")
        approved.append(signer)
    return approved, sum(weights[signer] for signer in approved)


def check_signatures(tx: WireTransaction, permissions: Permissions | None) -> None:
    """Whether enough of those have signed who may; None: of an account that never set any.

    Raises Rejected(SIGERROR)."""
    signatures = [bytes(signature) for signature in tx.message.signature]
    try:
        if not signatures:
            raise Refused("", "miss sig or contract")
        if len(signatures) > MOST_KEYS:
            raise Refused("", "too many signatures")
        permission = permission_of(tx, permissions or default(tx.owner))
        if weigh(permission, tx.txid, signatures)[1] < permission.threshold:
            raise Refused("", "sig error")
    except Refused as error:
        raise Rejected(Code.SIGERROR, f"Validate signature error: {error}") from error


def updated(contract: Any) -> Permissions:
    """The permissions that an AccountPermissionUpdateContract sets. Raises Rejected."""
    if not contract.HasField("owner"):
        raise invalid("owner permission is missed")
    if contract.HasField("witness"):
        raise invalid("account isn't witness can't set witness permission")
    if not contract.actives:
        raise invalid("active permission is missed")
    if len(contract.actives) > _MOST_ACTIVES:
        raise invalid("active permission is too many")
    if contract.owner.type != _OWNER:
        raise invalid("owner permission type is error")
    if any(active.type != _ACTIVE for active in contract.actives):
        raise invalid("active permission type is error")
    owner, actives = _with_id(contract.owner, 0), tuple(map(_with_id, contract.actives, range(2, 10)))
    for permission in (owner, *actives):
        _check(permission)
    return Permissions(owner, actives)


def _check(permission: Any) -> None:
    name = ("Owner", "Witness", "Active")[permission.type]
    addresses = [bytes(key.address) for key in permission.keys]
    if len(addresses) > MOST_KEYS:
        raise invalid(f"number of keys in permission should not be greater than {MOST_KEYS}")
    if not addresses:
        raise invalid("key's count should be greater than 0")
    if permission.threshold <= 0:
        raise invalid("permission's threshold should be greater than 0")
    if len(permission.permission_name) > 32:
        raise invalid("permission's name is too long")
    if permission.parent_id:
        raise invalid("permission's parent should be owner")
    if len(set(addresses)) != len(addresses):
        raise invalid(f"address should be distinct in permission {name}")
    if not all(map(is_address, addresses)):
        raise invalid("key is not a validate address")
    if any(key.weight <= 0 for key in permission.keys):
        raise invalid("key's weight should be greater than 0")
    if sum(key.weight for key in permission.keys) < permission.threshold:
        raise invalid(f"sum of all key's weight should not be less than threshold in permission {name}")
    if permission.type != _ACTIVE:
        if permission.operations:
            raise invalid(f"{name} permission needn't operations")
        return
    if len(permission.operations) != 32:
        raise invalid("operations size must 32")
    for kind in _bits(permission.operations):
        if not _bit(_AVAILABLE, kind):
            raise invalid(f"{kind} isn't a validate ContractType")


def _with_id(permission: Any, number: int) -> Any:
    copied = Permission()
    copied.CopyFrom(permission)
    copied.id = number
    return copied


def _bit(operations: bytes, kind: int) -> bool:
    return len(operations) == 32 and 0 <= kind < 256 and bool(operations[kind // 8] & 1 << kind % 8)


def _bits(operations: bytes) -> Iterable[int]:
    return (kind for kind in range(256) if _bit(operations, kind))
