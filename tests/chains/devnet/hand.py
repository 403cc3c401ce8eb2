"""A key that builds, signs and sends, and can get any part of it wrong on purpose."""

import secrets
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from google.protobuf.any_pb2 import Any as AnyMessage

from pipeline.chains.tron.codec import address
from pipeline.curve import PrivateKey
from pipeline.devnet import encoding
from pipeline.devnet.messages import RawData, Transaction, TransferContract, TriggerSmartContract

Json = dict[str, Any]


def selector(function: str) -> bytes:
    return encoding.keccak256(function.encode())[:4]


def word(value: int | str) -> bytes:
    """An ABI word of a number or a base58 address."""
    raw = address.to_tail(value) if isinstance(value, str) else value.to_bytes(32, "big")
    return raw.rjust(32, b"\0")


def new_key() -> PrivateKey:
    return PrivateKey(secrets.token_bytes(32))


class Api:
    """Plain HTTP to a node."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self.url = url

    async def ask(self, path: str, **body: Any) -> Any:
        async with self._session.post(f"{self.url}/{path}", json=body) as reply:
            assert reply.status == 200, await reply.text()
            return await reply.json()

    async def post(self, path: str, body: Any = None) -> tuple[int, str]:
        async with self._session.post(f"{self.url}/{path}", json=body or {}) as reply:
            return reply.status, await reply.text()

    async def send(self, signed: bytes) -> Json:
        answer = await self.ask("wallet/broadcasthex", transaction=signed.hex())
        assert isinstance(answer, dict)
        return answer


@dataclass
class Hand:
    api: Api
    key: PrivateKey = field(default_factory=new_key)

    @property
    def address(self) -> str:
        return address.from_public_key(self.key.public_key)

    async def raw(self, kind: str, contract: Any, **fields: Any) -> Any:
        """``raw_data`` that refers to the solid block and lives for a minute, unless ``fields`` say otherwise."""
        block = await self.api.ask("walletsolidity/getnowblock")
        head = await self.api.ask("wallet/getnowblock")
        block_id = bytes.fromhex(block["blockID"])
        values: Json = {
            "ref_block_bytes": block_id[6:8],
            "ref_block_hash": block_id[8:16],
            "expiration": head["block_header"]["raw_data"]["timestamp"] + 60_000,
            "timestamp": time.time_ns() // 1_000_000,
        } | fields
        raw = RawData(**values)
        packed = AnyMessage(type_url=f"type.googleapis.com/protocol.{kind}", value=contract.SerializeToString())
        raw.contract.add(type=kind, parameter=packed)
        return raw

    def sign(self, raw: Any, key: PrivateKey | None = None) -> bytes:
        signature = encoding.sign(key or self.key, encoding.sha256(raw.SerializeToString()))
        return bytes(Transaction(raw_data=raw, signature=[signature]).SerializeToString())

    def transfer_of(self, receiver: str, sun: int) -> Any:
        return TransferContract(
            owner_address=address.to_bytes(self.address), to_address=address.to_bytes(receiver), amount=sun
        )

    def call_of(self, contract: str, data: bytes, call_value: int = 0) -> Any:
        return TriggerSmartContract(
            owner_address=address.to_bytes(self.address),
            contract_address=address.to_bytes(contract),
            data=data,
            call_value=call_value,
        )

    async def transfer(self, receiver: str, sun: int, **fields: Any) -> bytes:
        """Signed bytes that send TRX."""
        return self.sign(await self.raw("TransferContract", self.transfer_of(receiver, sun), **fields))

    async def call(self, contract: str, data: bytes, fee_limit: int = 100_000_000, **fields: Any) -> bytes:
        message = self.call_of(contract, data, fields.pop("call_value", 0))
        return self.sign(await self.raw("TriggerSmartContract", message, fee_limit=fee_limit, **fields))

    async def send_token(self, contract: str, receiver: str, raw: int, **fields: Any) -> bytes:
        """Signed bytes that transfer tokens."""
        data = selector("transfer(address,uint256)") + word(receiver) + word(raw)
        return await self.call(contract, data, **fields)


def fresh_address() -> str:
    """An address nobody has used."""
    return address.from_public_key(new_key().public_key)
