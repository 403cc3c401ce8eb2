"""The devnet's own hand: a rich key that funds accounts, deploys the token and mints it, by ordinary transactions."""

import json
from functools import cache
from importlib import resources
from typing import Any

from eth_abi.abi import encode
from eth_abi.exceptions import EncodingError
from google.protobuf.any_pb2 import Any as AnyMessage

from pipeline.curve import PrivateKey
from pipeline.devnet.chain import Chain
from pipeline.devnet.encoding import address_of, contract_address, keccak256, sha256, sign
from pipeline.devnet.messages import (
    CreateSmartContract,
    RawData,
    SmartContract,
    TransferContract,
    TriggerSmartContract,
    from_json,
)
from pipeline.devnet.transactions import WireTransaction

ENDOWMENT = 100_000_000_000 * 1_000_000
"""Sun in the faucet at genesis: 100 billion TRX."""
FEE_LIMIT = 10_000_000_000
LIFETIME_MS = 3600 * 1000


def faucet_key(network: str) -> PrivateKey:
    """Anyone can compute it: it guards nothing."""
    return PrivateKey(sha256(f"flagpost devnet faucet {network}".encode()))


@cache
def token_artifact() -> dict[str, Any]:
    """The committed Token.json: abi and creation byte code."""
    text = resources.files("pipeline.devnet").joinpath("contracts/Token.json").read_text()
    artifact: dict[str, Any] = json.loads(text)
    return artifact


class Faucet:
    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._key = faucet_key(chain.options.network)
        self._last_ms = 0
        self.address = address_of(self._key)

    def fund(self, receiver: bytes, sun: int) -> str:
        """Send TRX. Returns the txid. Raises Rejected."""
        return self._send("TransferContract", TransferContract(to_address=receiver, amount=sun)).id

    def deploy_token(self, name: str, symbol: str, decimals: int, supply: int) -> tuple[str, bytes]:
        """Returns txid and address of a new Token; the faucet owns it and holds ``supply``. Raises Rejected."""
        artifact = token_artifact()
        arguments = encode(["string", "string", "uint8", "uint256"], [name, symbol, decimals, supply])
        return self.deploy(bytes.fromhex(artifact["bytecode"]) + arguments, artifact["abi"], symbol)

    def deploy(self, code: bytes, abi: list[Any], name: str) -> tuple[str, bytes]:
        """Returns txid and address of the contract that creation code makes. Raises Rejected."""
        created = from_json(SmartContract, {"abi": {"entrys": abi}, "name": name[:32]}, False)
        created.origin_address = self.address
        created.bytecode = code
        created.consume_user_resource_percent = 100
        created.origin_energy_limit = 10_000_000
        tx = self._send("CreateSmartContract", CreateSmartContract(new_contract=created))
        return tx.id, contract_address(tx.txid, self.address)

    def call(self, contract: bytes, function: str, arguments: list[Any]) -> str:
        """Call ``function`` (its signature, e.g. ``mint(address,uint256)``). Returns the txid.

        Addresses are 20 bytes. Raises Rejected, or ValueError when the arguments do not fit."""
        types = [kind for kind in function[function.index("(") + 1 : function.rindex(")")].split(",") if kind]
        try:
            data = keccak256(function.encode())[:4] + encode(types, arguments)
        except EncodingError as error:
            raise ValueError(f"arguments of {function}: {error}") from error
        return self._send("TriggerSmartContract", TriggerSmartContract(contract_address=contract, data=data)).id

    def _send(self, kind: str, message: Any) -> WireTransaction:
        message.owner_address = self.address
        reference = self._chain.solid
        self._last_ms = max(self._last_ms + 1, self._chain.clock.now_ms())
        raw = RawData(
            ref_block_bytes=reference.id[6:8],
            ref_block_hash=reference.id[8:16],
            expiration=self._chain.head.timestamp + LIFETIME_MS,
            timestamp=self._last_ms,  # never the same twice, so that equal payments are different transactions
            fee_limit=0 if kind == "TransferContract" else FEE_LIMIT,
        )
        packed = AnyMessage(type_url=f"type.googleapis.com/protocol.{kind}", value=message.SerializeToString())
        raw.contract.add(type=kind).parameter.CopyFrom(packed)
        unsigned = WireTransaction.of(raw, [])
        tx = WireTransaction.of(raw, [sign(self._key, unsigned.txid)])
        self._chain.admit(tx)
        return tx
