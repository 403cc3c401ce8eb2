"""Every reason for which java-tron refuses a broadcast, and what it remembers."""

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage

from pipeline.chains.tron.codec.address import to_bytes
from pipeline.devnet.client import DevnetClient
from pipeline.devnet.messages import Transaction
from pipeline.devnet.network import Devnet
from tests.chains.devnet.hand import Api, Hand, fresh_address, new_key, selector, word


async def refused(api: Api, signed: bytes) -> tuple[str, str]:
    answer = await api.send(signed)
    assert answer["result"] is False
    return answer["code"], answer["message"]


async def test_success_means_pooled_only(alice: Hand, api: Api, devnet: DevnetClient) -> None:
    signed = await alice.transfer(fresh_address(), 1)
    answer = await api.send(signed)
    assert (answer["result"], answer["code"]) == (True, "SUCCESS")
    assert await api.ask("wallet/gettransactioninfobyid", value=answer["txid"]) == {}
    assert (await devnet.status()).pending == (answer["txid"],)
    await devnet.mine()
    assert (await api.ask("wallet/gettransactioninfobyid", value=answer["txid"]))["id"] == answer["txid"]


async def test_txid_is_remembered_before_it_is_validated(alice: Hand, api: Api) -> None:
    invalid = await alice.transfer(fresh_address(), 10**15)
    assert (await refused(api, invalid))[0] == "CONTRACT_VALIDATE_ERROR"
    assert await refused(api, invalid) == ("DUP_TRANSACTION_ERROR", "Transaction already exists.")


async def test_a_full_pool_is_answered_before_the_txid_is_remembered(alice: Hand, api: Api, network: Devnet) -> None:
    signed = await alice.transfer(fresh_address(), 1)
    network.chain.max_pending = 0
    assert await refused(api, signed) == ("SERVER_BUSY", "Server busy.")
    network.chain.max_pending = 10
    assert (await api.send(signed))["result"] is True


async def test_duplicate_of_a_pooled_and_of_a_mined_transaction(alice: Hand, api: Api, devnet: DevnetClient) -> None:
    other = Api(api._session, (await devnet.start_node("other")).url)
    signed = await alice.transfer(fresh_address(), 1)
    assert (await api.send(signed))["result"]
    assert (await refused(other, signed)) == ("DUP_TRANSACTION_ERROR", "Dup transaction.")
    await devnet.mine()
    await devnet.forget_txids("other")
    assert (await refused(other, signed)) == ("DUP_TRANSACTION_ERROR", "Dup transaction.")


@pytest.mark.parametrize(
    "reference",
    [{"ref_block_hash": b"12345678"}, {"ref_block_bytes": b"\xff\xff"}, {"ref_block_bytes": b""}],
    ids=["other hash", "block not there", "none"],
)
async def test_tapos(alice: Hand, api: Api, reference: dict[str, bytes]) -> None:
    signed = await alice.transfer(fresh_address(), 1, **reference)
    assert await refused(api, signed) == ("TAPOS_ERROR", "Tapos check error.")


async def test_expiration_is_measured_against_the_head(alice: Hand, api: Api, devnet: DevnetClient) -> None:
    head = (await devnet.status()).head.timestamp
    day = 24 * 3600 * 1000
    expired = await alice.transfer(fresh_address(), 1, expiration=head)
    assert await refused(api, expired) == ("TRANSACTION_EXPIRATION_ERROR", "Transaction expired")
    too_far = await alice.transfer(fresh_address(), 1, expiration=head + day + 1)
    assert (await refused(api, too_far))[0] == "TRANSACTION_EXPIRATION_ERROR"
    assert (await api.send(await alice.transfer(fresh_address(), 1, expiration=head + 60_000)))["result"]
    assert (await api.send(await alice.transfer(fresh_address(), 1, expiration=head + day)))["result"]


async def test_a_pooled_transaction_that_expires_is_never_included(alice: Hand, api: Api, devnet: DevnetClient) -> None:
    receiver = fresh_address()
    assert (await api.send(await alice.transfer(receiver, 1)))["result"]
    await devnet.advance(61)
    await devnet.mine()
    assert (await devnet.status()).pending == ()
    assert await devnet.balance(receiver) == 0


async def test_too_big(alice: Hand, api: Api, usdt: str) -> None:
    signed = await alice.call(usdt, b"\x01" * (500 * 1024))
    assert (await refused(api, signed))[0] == "TOO_BIG_TRANSACTION_ERROR"


async def test_signature_of_another_key(alice: Hand, api: Api) -> None:
    raw = await alice.raw("TransferContract", alice.transfer_of(fresh_address(), 1))
    code, message = await refused(api, alice.sign(raw, new_key()))
    assert code == "SIGERROR"
    assert "but it is not contained of permission" in message


async def test_signature_over_other_bytes(alice: Hand, api: Api) -> None:
    raw = await alice.raw("TransferContract", alice.transfer_of(fresh_address(), 1))
    signature = Transaction.FromString(alice.sign(raw)).signature
    raw.timestamp += 1
    tampered = Transaction(raw_data=raw, signature=signature)
    assert (await refused(api, tampered.SerializeToString()))[0] == "SIGERROR"


@pytest.mark.parametrize("signatures", [[], [b"short"], [b"\x01" * 64 + b"\x09"], "twice"])
async def test_malformed_signatures(alice: Hand, api: Api, signatures: list[bytes] | str) -> None:
    raw = await alice.raw("TransferContract", alice.transfer_of(fresh_address(), 1))
    good = Transaction.FromString(alice.sign(raw)).signature[0]
    wanted = [good, good] if isinstance(signatures, str) else signatures
    bad = Transaction(raw_data=raw, signature=wanted)
    assert (await refused(api, bad.SerializeToString()))[0] == "SIGERROR"


async def test_transfers_that_validation_refuses(alice: Hand, api: Api, usdt: str) -> None:
    async def message(signed: bytes) -> str:
        code, text = await refused(api, signed)
        assert code == "CONTRACT_VALIDATE_ERROR"
        return text.removeprefix("Contract validate error : ")

    assert await message(await alice.transfer(alice.address, 1)) == "Cannot transfer TRX to yourself."
    assert await message(await alice.transfer(fresh_address(), 0)) == "Amount must be greater than 0."
    assert await message(await alice.transfer(fresh_address(), -5)) == "Amount must be greater than 0."
    assert await message(await alice.transfer(usdt, 1)) == "Cannot transfer TRX to a smartContract."
    nobody = Hand(api)
    assert await message(await nobody.transfer(fresh_address(), 1)) == f"account [{_hex(nobody)}] does not exist"
    overdraft = "Validate TransferContract error, balance is not sufficient."  # the activation is not covered
    assert await message(await alice.transfer(fresh_address(), 1_000_000_000)) == overdraft


async def test_no_contract_or_two(alice: Hand, api: Api) -> None:
    raw = await alice.raw("TransferContract", alice.transfer_of(fresh_address(), 1))
    raw.contract.append(raw.contract[0])
    assert "size should be exactly 1" in (await refused(api, alice.sign(raw)))[1]
    del raw.contract[:]
    assert (await refused(api, alice.sign(raw))) == (
        "CONTRACT_VALIDATE_ERROR",
        "Contract validate error : No contract!",
    )


async def test_a_type_that_does_not_match_its_parameter(alice: Hand, api: Api) -> None:
    raw = await alice.raw("TransferContract", alice.transfer_of(fresh_address(), 1))
    raw.contract[0].type = 31
    assert (await refused(api, alice.sign(raw)))[0] == "CONTRACT_VALIDATE_ERROR"
    raw.contract[0].type = 54
    assert "FreezeBalanceV2Contract" in (await refused(api, alice.sign(raw)))[1]
    raw.contract[0].type = 1
    raw.contract[0].parameter.CopyFrom(
        AnyMessage(type_url="type.googleapis.com/protocol.TransferContract", value=b"\xff\xff")
    )
    assert (await refused(api, alice.sign(raw)))[0] == "CONTRACT_VALIDATE_ERROR"


async def test_bandwidth_must_be_paid(api: Api, devnet: DevnetClient, usdt: str) -> None:
    """600 bytes a day are free, all or nothing; after that 1,000 sun a byte."""
    poor = Hand(api)
    receiver = Hand(api)
    await devnet.faucet(poor.address, 100_000)
    await devnet.faucet(receiver.address, 1)
    await devnet.solidify()
    for number in range(2):
        assert (await api.send(await poor.transfer(receiver.address, 1 + number)))["result"]
    assert await refused(api, await poor.transfer(receiver.address, 3)) == (
        "BANDWITH_ERROR",
        "Account resource insufficient error.",
    )


async def test_contract_calls_that_validation_refuses(alice: Hand, api: Api, usdt: str) -> None:
    data = selector("transfer(address,uint256)") + word(fresh_address()) + word(1)
    absent = await alice.call(fresh_address(), data)
    assert await refused(api, absent) == (
        "CONTRACT_VALIDATE_ERROR",
        "Contract validate error : No contract or not a valid smart contract",
    )
    assert "feeLimit must be" in (await refused(api, await alice.call(usdt, data, fee_limit=15_000_000_001)))[1]
    assert "feeLimit must be" in (await refused(api, await alice.call(usdt, data, fee_limit=-1)))[1]
    assert "callValue must be" in (await refused(api, await alice.call(usdt, data, call_value=-1)))[1]
    assert "balance is not sufficient" in (await refused(api, await alice.call(usdt, data, call_value=10**13)))[1]


async def test_a_refused_transaction_leaves_no_trace(alice: Hand, api: Api, devnet: DevnetClient) -> None:
    """Refused after its bandwidth was charged: at once, before any block, nothing of that is left."""
    receiver = (await devnet.status()).faucet
    before = await api.ask("wallet/getaccount", address=_hex(alice))
    assert (await refused(api, await alice.transfer(receiver, 10**15)))[0] == "CONTRACT_VALIDATE_ERROR"
    assert (await refused(api, await alice.transfer(fresh_address(), 10**15)))[0] == "CONTRACT_VALIDATE_ERROR"
    assert await api.ask("wallet/getaccount", address=_hex(alice)) == before


async def test_pending_spends_count(alice: Hand, api: Api) -> None:
    """The pool's effects are in the head's state: the same coins cannot be pooled twice."""
    assert (await api.send(await alice.transfer(fresh_address(), 990_000_000)))["result"]
    assert (await refused(api, await alice.transfer(fresh_address(), 990_000_000)))[0] == "CONTRACT_VALIDATE_ERROR"


def _hex(hand: Hand) -> str:
    return to_bytes(hand.address).hex()
