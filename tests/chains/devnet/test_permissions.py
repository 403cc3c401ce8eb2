"""Who may sign for an account: permissions as java-tron keeps them."""

from typing import Any

import pytest

from pipeline.chains.tron.codec.address import to_bytes
from pipeline.curve import PrivateKey
from pipeline.devnet import encoding
from pipeline.devnet.client import DevnetClient
from pipeline.devnet.messages import AccountPermissionUpdateContract, Permission, Transaction
from pipeline.devnet.permissions import default
from tests.chains.devnet.hand import Api, Hand, fresh_address, new_key

EVERYTHING = default(bytes(21)).actives[0].operations
TRANSFERS_ONLY = b"\x02" + bytes(31)


def keys(*weights: tuple[str, int]) -> list[dict[str, Any]]:
    return [{"address": to_bytes(address), "weight": weight} for address, weight in weights]


def owner(threshold: int, *weights: tuple[str, int], **fields: Any) -> Any:
    return Permission(permission_name="owner", threshold=threshold, keys=keys(*weights), **fields)


def active(threshold: int, *weights: tuple[str, int], operations: bytes = EVERYTHING) -> Any:
    return Permission(
        type=2, permission_name="spender", threshold=threshold, keys=keys(*weights), operations=operations
    )


async def update(hand: Hand, api: Api, devnet: DevnetClient, owner: Any, *actives: Any) -> dict[str, Any]:
    contract = AccountPermissionUpdateContract(owner_address=to_bytes(hand.address), owner=owner, actives=actives)
    answer = await api.send(hand.sign(await hand.raw("AccountPermissionUpdateContract", contract)))
    await devnet.mine()
    return answer


def signed(raw: Any, *by: PrivateKey) -> bytes:
    digest = encoding.sha256(raw.SerializeToString())
    made = Transaction(raw_data=raw, signature=[encoding.sign(key, digest) for key in by])
    return bytes(made.SerializeToString())


async def transfer(hand: Hand, permission: int = 0) -> Any:
    raw = await hand.raw("TransferContract", hand.transfer_of(fresh_address(), 1))
    raw.contract[0].Permission_id = permission
    return raw


async def test_a_new_owner_locks_the_old_key_out(alice: Hand, api: Api, devnet: DevnetClient) -> None:
    before = await devnet.balance(alice.address)
    thief = Hand(api)
    answer = await update(alice, api, devnet, owner(1, (thief.address, 1)), active(1, (thief.address, 1)))
    assert answer["result"], answer
    info = await api.ask("wallet/gettransactioninfobyid", value=answer["txid"])
    assert info["fee"] == 100_000_000
    assert await devnet.balance(alice.address) == before - 100_000_000
    account = await api.ask("wallet/getaccount", address=alice.address, visible=True)
    assert account["owner_permission"]["keys"] == [{"address": thief.address, "weight": 1}]
    assert account["active_permission"][0]["id"] == 2
    raw = await transfer(alice)
    refused = await api.send(signed(raw, alice.key))
    signature = Transaction.FromString(signed(raw, alice.key)).signature[0].hex()
    assert (refused["code"], refused["message"]) == (
        "SIGERROR",
        f"Validate signature error: {signature} is signed by {alice.address} but it is not contained of permission.",
    )
    raw.timestamp += 1
    assert (await api.send(signed(raw, thief.key)))["result"]


async def test_what_is_pending_falls_out_of_the_pool(alice: Hand, api: Api, devnet: DevnetClient) -> None:
    """Signed and pooled while it was allowed, and no block takes it any more."""
    waiting = await api.send(signed(await transfer(alice), alice.key))
    assert waiting["result"]
    await devnet.hold([waiting["txid"]])
    thief = Hand(api)
    await update(alice, api, devnet, owner(1, (thief.address, 1)), active(1, (thief.address, 1)))
    await devnet.release()
    await devnet.mine()
    assert (await devnet.status()).pending == ()
    assert await api.ask("wallet/gettransactioninfobyid", value=waiting["txid"]) == {}


async def test_weights_and_thresholds(alice: Hand, api: Api, devnet: DevnetClient) -> None:
    second, third = new_key(), new_key()
    names = [Hand(api, key).address for key in (alice.key, second, third)]
    two_of_three = owner(2, *((name, 1) for name in names))
    await update(alice, api, devnet, two_of_three, active(1, (names[1], 1), operations=TRANSFERS_ONLY))

    async def sent(raw: Any, *by: PrivateKey) -> str:
        answer = await api.send(signed(raw, *by))
        return "sent" if answer["result"] else str(answer["message"]).removeprefix("Validate signature error: ")

    assert await sent(await transfer(alice), alice.key) == "sig error", "one is not enough"
    assert await sent(await transfer(alice), alice.key, alice.key) == f"{names[0]} has signed twice!"
    assert await sent(await transfer(alice), alice.key, third) == "sent"
    assert await sent(await transfer(alice, permission=2), second) == "sent"
    assert "not contained of permission" in await sent(await transfer(alice, permission=2), third)
    assert "more than key counts of permission : 1" in await sent(await transfer(alice, permission=2), second, third)
    assert await sent(await transfer(alice, permission=3), second) == "permission isn't exit"
    assert await sent(await transfer(alice), *[alice.key] * 6) == "too many signatures"
    call = await alice.raw("TriggerSmartContract", alice.call_of(fresh_address(), b""))
    call.contract[0].Permission_id = 2
    assert await sent(call, second) == "Permission denied", "it may make transfers and nothing else"


async def test_more_than_one_signature_costs_a_coin(alice: Hand, api: Api, devnet: DevnetClient) -> None:
    second = new_key()
    names = [Hand(api, key).address for key in (alice.key, second)]
    await update(alice, api, devnet, owner(2, *((name, 1) for name in names)), active(1, (names[0], 1)))
    answer = await api.send(signed(await transfer(alice), alice.key, second))
    await devnet.mine()
    info = await api.ask("wallet/gettransactioninfobyid", value=answer["txid"])
    assert info["fee"] == 1_000_000 + 1_100_000, "and the receiver's account"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"threshold": 0}, "permission's threshold should be greater than 0"),
        ({"threshold": 2}, "sum of all key's weight should not be less than threshold in permission Owner"),
        ({"keys": []}, "key's count should be greater than 0"),
        ({"type": 2}, "owner permission type is error"),
        ({"operations": TRANSFERS_ONLY}, "Owner permission needn't operations"),
        ({"permission_name": "x" * 33}, "permission's name is too long"),
        ({"keys": [{"address": b"\x41", "weight": 1}]}, "key is not a validate address"),
    ],
)
async def test_permissions_that_validation_refuses(
    alice: Hand, api: Api, devnet: DevnetClient, wrong: dict[str, Any], said: str
) -> None:
    fields = {"permission_name": "owner", "threshold": 1, "keys": keys((alice.address, 1))} | wrong
    answer = await update(alice, api, devnet, Permission(**fields), active(1, (alice.address, 1)))
    assert (answer["code"], answer["message"]) == ("CONTRACT_VALIDATE_ERROR", f"Contract validate error : {said}")


async def test_actives_that_validation_refuses(alice: Hand, api: Api, devnet: DevnetClient) -> None:
    mine = owner(1, (alice.address, 1))

    async def said(*actives: Any) -> str:
        return str((await update(alice, api, devnet, mine, *actives))["message"]).partition(" : ")[2]

    good = active(1, (alice.address, 1))
    assert await said() == "active permission is missed"
    assert await said(*[good] * 9) == "active permission is too many"
    assert await said(mine) == "active permission type is error"
    assert await said(active(1, (alice.address, 1), operations=b"\x02")) == "operations size must 32"
    unknown = bytes(31) + b"\x80"
    assert await said(active(1, (alice.address, 1), operations=unknown)) == "255 isn't a validate ContractType"
    twice = active(2, (alice.address, 1), (alice.address, 1))
    assert await said(twice) == "address should be distinct in permission Active"


async def test_the_fee_must_be_there(api: Api, devnet: DevnetClient, usdt: str) -> None:
    poor = Hand(api)
    await devnet.faucet(poor.address, 99_999_999)
    await devnet.solidify()
    answer = await update(poor, api, devnet, owner(1, (poor.address, 1)), active(1, (poor.address, 1)))
    assert answer["code"] == "CONTRACT_EXE_ERROR"


async def test_a_node_weighs_signatures(alice: Hand, api: Api, devnet: DevnetClient) -> None:
    built = await api.ask(
        "wallet/createtransaction",
        owner_address=to_bytes(alice.address).hex(),
        to_address=to_bytes(fresh_address()).hex(),
        amount=1,
    )
    unsigned = await api.ask("wallet/getsignweight", **built)
    assert unsigned["result"] == {"code": "NOT_ENOUGH_PERMISSION"}
    assert unsigned["permission"]["permission_name"] == "owner"
    digest = bytes.fromhex(built["txID"])
    other = new_key()
    mine = built | {"signature": [encoding.sign(alice.key, digest).hex()]}
    weighed = await api.ask("wallet/getsignweight", **mine)
    assert (weighed["result"], weighed["current_weight"]) == ({}, 1)
    assert weighed["approved_list"] == [to_bytes(alice.address).hex()]
    foreign = built | {"signature": [encoding.sign(other, digest).hex()]}
    refused = await api.ask("wallet/getsignweight", **foreign)
    assert refused["result"]["code"] == "PERMISSION_ERROR"
    assert "not contained of permission" in refused["result"]["message"]
    listed = await api.ask("wallet/getapprovedlist", **foreign)
    assert listed["approved_list"] == [to_bytes(Hand(api, other).address).hex()]
    odd = built | {"signature": ["00"]}
    assert (await api.ask("wallet/getsignweight", **odd))["result"]["code"] == "SIGNATURE_FORMAT_ERROR"
