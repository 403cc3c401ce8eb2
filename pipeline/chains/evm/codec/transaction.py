"""EVM transactions, built and read here.

Two kinds exist for us: a plain coin transfer (no data) and a call of ``transfer(address,uint256)`` without coins; in
two envelopes, EIP-1559 (type 2) and legacy with replay protection (EIP-155). Reading is strict: bytes count
as a payment only if building that payment anew gives the same bytes, so that nothing hides in an access
list, extra call data, coins sent along, or a number with leading zeros.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import rlp
from rlp.exceptions import RLPException

from pipeline.chains.errors import BadSignature, InvalidAddress, UndecodableTransaction
from pipeline.chains.evm.codec import address
from pipeline.curve import PublicKey
from pipeline.curve.keccak import keccak256

TRANSFER_SELECTOR = bytes.fromhex("a9059cbb")
"""transfer(address,uint256)"""
DYNAMIC_FEE = b"\x02"
"""The envelope's type byte of EIP-1559."""
BUMP_PERCENT = 15
"""Geth and its relatives take a replacement from +10 % on, for both fees."""

_MAX_UINT256 = 2**256 - 1
_MAX_UINT64 = 2**64 - 1
_REMEMBERED = 512
"""Transactions: each is built and read by its sender, its signer, and again before it is kept."""
_HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0


@dataclass(frozen=True, slots=True)
class GasPrice:
    """What a unit of gas may cost, in wei."""

    max_fee: int
    """Base fee and tip together; the gas price of a legacy transaction."""
    tip: int | None
    """The part above the base fee that goes to the block's producer. None: legacy."""

    def bumped(self, percent: int = BUMP_PERCENT) -> "GasPrice":
        """Both fees raised by ``percent``, rounded up, and by one wei at least."""
        return GasPrice(_raised(self.max_fee, percent), None if self.tip is None else _raised(self.tip, percent))


@dataclass(frozen=True, slots=True)
class EvmTransfer:
    """Everything that a payment's bytes say. The sender is not among it: the signature names it."""

    chain_id: int
    nonce: int
    receiver: str
    amount: int
    """Wei, or the token's raw units."""
    contract: str | None
    """None: the native coin."""
    gas_limit: int
    fees: GasPrice

    @property
    def fee_cap(self) -> int:
        """The most it can cost, wei."""
        return self.gas_limit * self.fees.max_fee

    def at(self, fees: GasPrice) -> "EvmTransfer":
        """The same payment with the same nonce at other fees."""
        return replace(self, fees=fees)


@lru_cache(_REMEMBERED)
def encode(transfer: EvmTransfer) -> bytes:
    """The bytes whose keccak256 is signed. Raises InvalidAddress, ValueError for a number out of range."""
    fields = _fields(transfer)
    if transfer.fees.tip is None:
        unsigned: bytes = rlp.encode([*fields, _number(transfer.chain_id), b"", b""])
        return unsigned
    typed: bytes = rlp.encode(fields)
    return DYNAMIC_FEE + typed


@lru_cache(_REMEMBERED)
def decode(raw: bytes) -> EvmTransfer:
    """Read unsigned bytes back. Raises UndecodableTransaction unless they are exactly one payment."""
    dynamic = raw[:1] == DYNAMIC_FEE
    fields = _list(raw[1:] if dynamic else raw)
    if len(fields) != 9:
        raise UndecodableTransaction(f"an unsigned transaction has 9 fields, this one {len(fields)}")
    transfer = _read_dynamic(fields) if dynamic else _read_legacy(fields, _int(fields[6], "chain id"))
    return _only_that(transfer, raw, _again(transfer))


def join(raw: bytes, signature: bytes) -> bytes:
    """The signed transaction that goes to a node, of unsigned bytes and r‖s‖v.

    Raises BadSignature, UndecodableTransaction."""
    transfer = decode(raw)
    r, s, parity = _signature(signature)
    fields = _fields(transfer)
    if transfer.fees.tip is None:
        signed: bytes = rlp.encode([*fields, _number(transfer.chain_id * 2 + 35 + parity), _number(r), _number(s)])
        return signed
    typed: bytes = rlp.encode([*fields, _number(parity), _number(r), _number(s)])
    return DYNAMIC_FEE + typed


def split(signed: bytes) -> tuple[bytes, bytes]:
    """Unsigned bytes and the 65-byte signature r‖s‖v (v 0 or 1) of a signed transaction.

    Raises UndecodableTransaction unless it is exactly one signed payment.
    """
    dynamic = signed[:1] == DYNAMIC_FEE
    fields = _list(signed[1:] if dynamic else signed)
    if len(fields) != (12 if dynamic else 9):
        raise UndecodableTransaction(f"not a signed transaction of ours: it has {len(fields)} fields")
    mark = _int(fields[-3], "v")
    if dynamic:
        transfer, parity = _read_dynamic(fields[:9]), mark
    else:
        if mark < 37:
            raise UndecodableTransaction("the legacy transaction has no replay protection (EIP-155)")
        transfer, parity = _read_legacy(fields[:6], (mark - 35) // 2), (mark - 35) % 2
    unsigned = _again(transfer)
    try:
        r, s = (_int(field, "signature").to_bytes(32, "big") for field in fields[-2:])
        signature = r + s + bytes([parity])
        again = join(unsigned, signature)
    except (BadSignature, ValueError) as error:
        raise UndecodableTransaction(f"the signature is not one: {error}") from error
    _only_that(transfer, signed, again)
    return unsigned, signature


def digest(raw: bytes) -> bytes:
    """The 32 bytes to sign, of unsigned bytes."""
    return keccak256(raw)


def txid(signed: bytes) -> str:
    """The hash of a signed transaction: 0x and 64 lower-case hex digits."""
    return "0x" + keccak256(signed).hex()


def recover(raw: bytes, signature: bytes) -> str:
    """The address whose key signed the unsigned bytes. Raises BadSignature."""
    _signature(signature)
    try:
        key = PublicKey.recover(digest(raw), signature)
    except ValueError as error:
        raise BadSignature(f"no key gives this signature: {error}") from error
    return address.from_public_key(key)


def transfer_call(receiver: str, amount: int) -> bytes:
    """Call data of ``transfer(receiver, amount)``."""
    if not 0 <= amount <= _MAX_UINT256:
        raise ValueError(f"amount {amount} does not fit a uint256")
    return TRANSFER_SELECTOR + address.to_bytes(receiver).rjust(32, b"\0") + amount.to_bytes(32, "big")


def _fields(transfer: EvmTransfer) -> list[bytes | list[bytes]]:
    """The unsigned fields in the envelope's order."""
    if transfer.amount <= 0 or transfer.amount > _MAX_UINT256:
        raise ValueError(f"amount {transfer.amount} is not between 1 and 2^256-1")
    if not 0 <= transfer.nonce < _MAX_UINT64:
        raise ValueError(f"nonce {transfer.nonce} is out of range")
    if not 0 < transfer.gas_limit <= _MAX_UINT64:
        raise ValueError(f"gas limit {transfer.gas_limit} is out of range")
    if transfer.chain_id <= 0:
        raise ValueError(f"chain id {transfer.chain_id} is not above zero")
    if transfer.contract is None:
        to, value, data = transfer.receiver, transfer.amount, b""
    else:
        to, value, data = transfer.contract, 0, transfer_call(transfer.receiver, transfer.amount)
    tail: list[bytes] = [_number(transfer.gas_limit), address.to_bytes(to), _number(value), data]
    fees = transfer.fees
    if fees.tip is None:
        return [_number(transfer.nonce), _number(fees.max_fee), *tail]
    if fees.tip > fees.max_fee:
        raise ValueError(f"tip {fees.tip} is above the max fee {fees.max_fee}")
    head = [_number(transfer.chain_id), _number(transfer.nonce), _number(fees.tip), _number(fees.max_fee)]
    return [*head, *tail, []]


def _read_dynamic(fields: list[bytes | list[bytes]]) -> EvmTransfer:
    chain_id, nonce, tip, max_fee, gas = (_int(field, "number") for field in fields[:5])
    if fields[8] != []:
        raise UndecodableTransaction("the transaction carries an access list")
    return _read_payment(fields[5:8], chain_id, nonce, gas, GasPrice(max_fee, tip))


def _read_legacy(fields: list[bytes | list[bytes]], chain_id: int) -> EvmTransfer:
    nonce, price, gas = (_int(field, "number") for field in fields[:3])
    return _read_payment(fields[3:6], chain_id, nonce, gas, GasPrice(price, None))


def _read_payment(
    fields: list[bytes | list[bytes]], chain_id: int, nonce: int, gas: int, fees: GasPrice
) -> EvmTransfer:
    to, data = fields[0], fields[2]
    value = _int(fields[1], "value")
    if not isinstance(to, bytes) or len(to) != 20:
        raise UndecodableTransaction("the transaction creates a contract or has no receiver")
    if not isinstance(data, bytes):
        raise UndecodableTransaction("the call data is not bytes")
    if not data:
        return EvmTransfer(chain_id, nonce, address.from_bytes(to), value, None, gas, fees)
    if data[:4] != TRANSFER_SELECTOR or len(data) != 68:
        raise UndecodableTransaction("the call is not transfer(address,uint256)")
    if value:
        raise UndecodableTransaction(f"the token transfer sends {value} wei along")
    receiver, amount = address.from_bytes(data[16:36]), int.from_bytes(data[36:], "big")
    return EvmTransfer(chain_id, nonce, receiver, amount, address.from_bytes(to), gas, fees)


def _list(data: bytes) -> list[bytes | list[bytes]]:
    try:
        fields = rlp.decode(data, strict=True)
    except (RLPException, TypeError) as error:
        raise UndecodableTransaction(f"not an EVM transaction: {error}") from error
    if not isinstance(fields, list):
        raise UndecodableTransaction("not an EVM transaction: no list of fields")
    return fields


def _again(transfer: EvmTransfer) -> bytes:
    try:
        return encode(transfer)
    except (InvalidAddress, ValueError) as error:
        raise UndecodableTransaction(f"not a payment: {error}") from error


def _only_that(transfer: EvmTransfer, raw: bytes, again: bytes) -> EvmTransfer:
    if again != raw:
        raise UndecodableTransaction("the transaction carries more than a payment, or a number in another form")
    return transfer


def _signature(signature: bytes) -> tuple[int, int, int]:
    if len(signature) != 65 or signature[64] > 1:
        raise BadSignature("a signature is r‖s‖v of 65 bytes with v 0 or 1")
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
    if not 0 < s <= _HALF_ORDER or r == 0:
        raise BadSignature("the signature's s is not in the lower half: nodes refuse it (EIP-2)")
    return r, s, signature[64]


def _raised(fee: int, percent: int) -> int:
    return max(fee + 1, -(-fee * (100 + percent) // 100))


def _number(value: int) -> bytes:
    """The shortest big-endian form; zero is no byte at all."""
    if not 0 <= value <= _MAX_UINT256:
        raise ValueError(f"{value} does not fit a uint256")
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def _int(field: bytes | list[bytes], name: str) -> int:
    if not isinstance(field, bytes) or len(field) > 32:
        raise UndecodableTransaction(f"the {name} is not a number")
    return int.from_bytes(field, "big")
