"""What a block says was done: only what its bytes and receipts prove."""

import time
from dataclasses import replace
from typing import Any

import pytest

from pipeline.chains.errors import ChainUnavailable, InconsistentNode, WrongNetwork
from pipeline.chains.rpc.http import Clock, NodeConfig
from pipeline.chains.tron.provider import TronProvider
from pipeline.chains.values import Effect, Finality, Payment
from tests.unit.chains.scripted_node import GENESIS, ScriptedNode, scripted_node
from tests.unit.chains.tron_answers import (
    RECEIVER,
    SENDER,
    TRX,
    USDT,
    block_id,
    header,
    listed,
    provider_of,
    receipt,
    signed_payment,
    transfer_log,
)

COIN = Payment(SENDER, RECEIVER, TRX, 5_000_000)
TOKEN = Payment(SENDER, RECEIVER, USDT, 250_000_000)
COIN_TX, TOKEN_TX = signed_payment(COIN), signed_payment(TOKEN)
SUCCESS = {"receipt": {"result": "SUCCESS"}}


def serve(node: ScriptedNode, transactions: list[Any], infos: Any, number: int = 7) -> None:
    """One solid block."""
    node.answers["walletsolidity/getblockbynum"] = lambda body: (
        header(number) | {"transactions": transactions} if body["num"] == number else {}
    )
    node.answers["walletsolidity/gettransactioninfobyblocknum"] = infos
    node.answers["walletsolidity/gettransactioninfobyid"] = lambda body: next(
        (info for info in infos if info["id"] == body["value"]), {}
    )


async def test_a_block_with_a_coin_and_a_token_payment() -> None:
    async with scripted_node() as node:
        infos = [receipt(TOKEN_TX, 7, fee=345_000, log=[transfer_log(TOKEN)], **SUCCESS), receipt(COIN_TX, 7)]
        serve(node, [listed(COIN_TX), listed(TOKEN_TX)], infos)
        provider = provider_of(node)
        content = await provider.block(7, Finality.FINAL)
        assert content is not None
        assert (content.block.number, content.block.id, content.parent_id) == (7, block_id(7), block_id(6))
        coin, token = content.transactions
        assert coin.did(COIN)
        assert coin.effects == (Effect(None, SENDER, RECEIVER, 5_000_000, "v"),)
        assert token.did(TOKEN)
        assert token.fee == 345_000
        assert not coin.did(TOKEN)
        assert await provider.find(TOKEN_TX.txid, Finality.FINAL) == token
        assert await provider.block(8, Finality.FINAL) is None
        await provider.close()


@pytest.mark.parametrize(
    ("contract_result", "info", "message"),
    [
        ("OUT_OF_ENERGY", {"receipt": {"result": "OUT_OF_ENERGY"}, "result": "FAILED"}, "OUT_OF_ENERGY"),
        ("REVERT", {"receipt": {"result": "REVERT"}, "resMessage": b"REVERT opcode executed".hex()}, "REVERT opcode"),
        ("SUCCESS", {"receipt": {"result": "OUT_OF_TIME"}}, "OUT_OF_TIME"),
        ("SUCCESS", {"receipt": {"result": "SUCCESS"}, "result": "FAILED"}, "SUCCESS"),
        ("", {"receipt": {"result": "SUCCESS"}}, ""),
    ],
)
async def test_both_verdicts_of_the_chain_must_be_success(contract_result: str, info: Any, message: str) -> None:
    async with scripted_node() as node:
        serve(node, [listed(TOKEN_TX, contract_result)], [receipt(TOKEN_TX, 7, log=[transfer_log(TOKEN)], **info)])
        provider = provider_of(node)
        found = await provider.find(TOKEN_TX.txid, Finality.FINAL)
        assert found is not None
        assert (found.success, found.effects) == (False, ())
        assert not found.did(TOKEN)
        assert message in found.message
        await provider.close()


@pytest.mark.parametrize("change", ["no log", "amount", "receiver", "contract", "topic", "topics", "data"])
async def test_success_without_the_exact_log_is_not_the_payment(change: str) -> None:
    log = transfer_log(TOKEN)
    if change == "amount":
        log["data"] = f"{TOKEN.amount - 1:064x}"
    elif change == "receiver":
        log["topics"][2] = log["topics"][1]
    elif change == "contract":
        log["address"] = "11" * 20
    elif change == "topic":
        log["topics"][0] = "22" * 32
    elif change == "topics":
        log["topics"].append("00" * 32)
    elif change == "data":
        log["data"] = ""
    logs = [] if change == "no log" else [log]
    async with scripted_node() as node:
        serve(node, [listed(TOKEN_TX)], [receipt(TOKEN_TX, 7, log=logs, **SUCCESS)])
        provider = provider_of(node)
        found = await provider.find(TOKEN_TX.txid, Finality.FINAL)
        assert found is not None
        assert found.success
        assert not found.did(TOKEN)
        await provider.close()


async def test_a_log_keeps_its_place_behind_logs_that_are_no_transfer() -> None:
    other = transfer_log(TOKEN) | {"topics": ["22" * 32]}
    async with scripted_node() as node:
        logs = [other, transfer_log(TOKEN), other, transfer_log(TOKEN)]
        serve(node, [listed(TOKEN_TX)], [receipt(TOKEN_TX, 7, log=logs, **SUCCESS)])
        provider = provider_of(node)
        found = await provider.find(TOKEN_TX.txid, Finality.FINAL)
        assert found is not None
        assert [effect.place for effect in found.effects] == ["l1", "l3"]
        with pytest.raises(ValueError, match="two effects in one place"):
            replace(found, effects=(found.effects[0], replace(found.effects[1], place="l1")))
        await provider.close()


@pytest.mark.parametrize("what", ["fee", "amount"])
async def test_negative_sums_are_no_answer(what: str) -> None:
    """The records would refuse them, and whoever writes the records would end with that."""
    log = transfer_log(TOKEN)
    if what == "amount":
        log["data"] = "-" + log["data"][1:]
    fee = -1 if what == "fee" else 345_000
    async with scripted_node() as node:
        serve(node, [listed(TOKEN_TX)], [receipt(TOKEN_TX, 7, fee=fee, log=[log], **SUCCESS)])
        provider = provider_of(node)
        content = await provider.block(7, Finality.FINAL)
        assert content is not None
        assert (content.transactions, content.unreadable) == ((), {TOKEN_TX.txid})
        await provider.close()


async def test_coins_moved_inside_a_contract_count_unless_rejected() -> None:
    def inner(amount: int, **fields: Any) -> dict[str, Any]:
        ours, theirs = "41" + "11" * 20, "41" + "22" * 20
        return {"caller_address": ours, "transferTo_address": theirs, "callValueInfo": [{"callValue": amount}]} | fields

    third = inner(3, callValueInfo=[{"callValue": 3, "tokenId": "1000001"}, {}, {"callValue": 4}])
    inners = [inner(1), inner(2, rejected=True), third]
    async with scripted_node() as node:
        serve(node, [listed(TOKEN_TX)], [receipt(TOKEN_TX, 7, internal_transactions=inners, **SUCCESS)])
        provider = provider_of(node)
        found = await provider.find(TOKEN_TX.txid, Finality.FINAL)
        assert found is not None
        assert [(one.contract, one.amount, one.place) for one in found.effects] == [(None, 1, "i0"), (None, 4, "i4")]
        await provider.close()


async def test_receipts_missing_from_a_block_are_no_empty_block() -> None:
    """``[]`` is also what a node says that does not have the block's receipts."""
    async with scripted_node() as node:
        serve(node, [listed(TOKEN_TX)], [])
        provider = provider_of(node)
        with pytest.raises(ChainUnavailable, match="no receipts for block 7"):
            await provider.block(7, Finality.FINAL)
        await provider.close()


async def test_an_empty_block_is_one_call() -> None:
    async with scripted_node() as node:
        serve(node, [], [])
        provider = provider_of(node)
        content = await provider.block(7, Finality.FINAL)
        assert content is not None
        assert content.transactions == ()
        assert "walletsolidity/gettransactioninfobyblocknum" not in node.asked
        await provider.close()


@pytest.mark.parametrize("lie", ["txid", "number", "id", "info"])
async def test_lies_are_named(lie: str) -> None:
    async with scripted_node() as node:
        serve(node, [listed(TOKEN_TX)], [receipt(TOKEN_TX, 7, log=[transfer_log(TOKEN)], **SUCCESS)])
        provider = provider_of(node)
        block = header(7) | {"transactions": [listed(TOKEN_TX)]}
        if lie == "txid":
            block["transactions"][0]["txID"] = "ab" * 32
        elif lie == "number":
            block |= header(8)
        elif lie == "id":
            block["blockID"] = block_id(9)
        else:
            node.answers["walletsolidity/gettransactioninfobyid"] = receipt(COIN_TX, 7)
            with pytest.raises(
                InconsistentNode, match=f"asked for transaction {TOKEN_TX.txid} and answered {COIN_TX.txid}"
            ):
                await provider.find(TOKEN_TX.txid, Finality.FINAL)
        if lie != "info":
            node.answers["walletsolidity/getblockbynum"] = block
            with pytest.raises(InconsistentNode, match=node.url):
                await provider.block(7, Finality.FINAL)
        await provider.close()


@pytest.mark.parametrize(
    "answer", [[], "text", {"blockID": 5}, {"block_header": {}}, None, header(7) | {"transactions": [{}]}]
)
async def test_answers_of_another_shape_are_usable_errors(answer: Any) -> None:
    async with scripted_node() as node:
        node.answers["walletsolidity/getblockbynum"] = lambda body: answer
        node.answers["walletsolidity/gettransactioninfobyblocknum"] = []
        provider = provider_of(node)
        with pytest.raises((ChainUnavailable, InconsistentNode), match=node.url):
            await provider.block(7, Finality.FINAL)
        await provider.close()


async def test_an_error_with_status_200_is_an_error() -> None:
    async with scripted_node() as node:
        node.answers["walletsolidity/getblockbynum"] = {"Error": "class java.lang.NullPointerException : null"}
        provider = provider_of(node)
        with pytest.raises(ChainUnavailable, match="NullPointerException"):
            await provider.block(7, Finality.FINAL)
        await provider.close()


async def test_a_node_without_getblock_is_read_by_whole_blocks() -> None:
    async with scripted_node(walletsolidity_getnowblock=header(70)) as node:
        provider = provider_of(node)
        assert (await provider.block_ref(Finality.FINAL)).number == 70
        assert (await provider.block_ref(Finality.FINAL)).id == block_id(70)
        assert node.asked.count("walletsolidity/getblock") == 1
        await provider.close()


async def test_the_solidity_address_is_compared_too() -> None:
    async with scripted_node() as full, scripted_node() as solidity:
        provider_of(full)
        solidity.answers["walletsolidity/getblockbynum"] = {"blockID": "ff" * 32}
        config = NodeConfig(full.url, solidity.url)
        provider = TronProvider("tron", GENESIS, [config], [], clock=Clock())
        with pytest.raises(WrongNetwork, match=f"node {solidity.url} belongs to another network"):
            await provider.check_network()
        solidity.answers["walletsolidity/getblockbynum"] = {"blockID": GENESIS}
        await provider.check_network()
        await provider.close()


def serve_without(node: ScriptedNode, *, in_list: set[str], singly: set[str]) -> None:
    """Both payments in block 7; receipts of these are missing in the list, and when they are asked for."""
    infos = [receipt(TOKEN_TX, 7, log=[transfer_log(TOKEN)], **SUCCESS), receipt(COIN_TX, 7)]
    serve(node, [listed(COIN_TX), listed(TOKEN_TX)], [one for one in infos if one["id"] not in in_list])
    node.answers["walletsolidity/gettransactioninfobyid"] = lambda body: next(
        (info for info in infos if info["id"] == body["value"] and info["id"] not in singly), {}
    )
    node.answers["walletsolidity/getblock"] = header(7)


async def test_receipts_that_the_list_lacks_are_asked_for_singly() -> None:
    async with scripted_node() as node:
        serve_without(node, in_list={TOKEN_TX.txid}, singly=set())
        provider = provider_of(node)
        content = await provider.block(7, Finality.FINAL)
        assert content is not None
        assert [one.txid for one in content.transactions] == [COIN_TX.txid, TOKEN_TX.txid]
        assert content.unreadable == frozenset()
        assert node.asked.count("walletsolidity/gettransactioninfobyid") == 1
        await provider.close()


async def test_what_no_node_has_a_receipt_of_keeps_none_of_the_others_waiting() -> None:
    missing = {TOKEN_TX.txid}
    async with scripted_node() as first, scripted_node() as second:
        serve_without(first, in_list=missing, singly=missing)
        serve_without(second, in_list=missing, singly=missing)
        provider = provider_of(first, second)
        content = await provider.block(7, Finality.FINAL)
        assert content is not None
        assert ([one.txid for one in content.transactions], content.unreadable) == ([COIN_TX.txid], missing)
        gaps = await provider.receipt_gaps()
        assert [gap.everything for gap in gaps.values()] == [False, False]
        assert f"lacks 1 of the 2 receipts of block 7, {TOKEN_TX.txid}" in gaps[first.url].said
        serve_without(second, in_list=set(), singly=set())
        content = await provider.block(7, Finality.FINAL)
        assert content is not None
        assert len(content.transactions) == 2, "the second node has it"
        await provider.close()


async def test_a_receipt_of_another_block_is_none() -> None:
    async with scripted_node() as node:
        serve(node, [listed(COIN_TX)], [receipt(COIN_TX, 6)])
        provider = provider_of(node)
        content = await provider.block(7, Finality.FINAL)
        assert content is not None
        assert (content.transactions, content.unreadable) == ((), {COIN_TX.txid})
        await provider.close()


async def test_a_block_of_next_week_is_none() -> None:
    """A payment built on it would not expire before that week."""
    async with scripted_node() as node:
        node.answers["wallet/getblock"] = header(7, at_ms=int(time.time() * 1000) + 7 * 86_400_000)
        provider = provider_of(node)
        with pytest.raises(ChainUnavailable, match="a time up to a day after now"):
            await provider.block_ref(Finality.HEAD)
        await provider.close()


HEADERS = [
    (
        "000000000326c641ee5f2819cdaccd67a616195ea214a4c352a4bfa47d61e1c8",
        "000000000326c640639ec37b4f981df3dd768e926305bd0ddb2b91e759fa2fda",
        "00" * 32,
        {"timestamp": 1734518928000, "number": 52872769, "version": 30},
        "4150d3765e4e670727ebac9d5b598f74b75a3d54a7",
    ),
    (
        "0000000001d6f4a09f60c27befccff6fe3cc593b2d6c46cdc79d3fd4f55db859",
        "0000000001d6f49f615231bdeeddd8b563c746188d5e270a58afc87b059f29de",
        "cc12586dc14ca32175ff230931dfad4e2f57b71850948edae7ef1c7a7de08881",
        {"timestamp": 1623055923000, "number": 30864544, "version": 21},
        "41c81107148e5fa4b4a2edf3d5354db6c6be5b5549",
    ),
    (
        "0000000000000a611841e6cd79f99249d7e974e41c0f5b016eb3c64e43fcb01c",
        "0000000000000a6023d563b1a2e1e0eb49cb40226eb553e6dc006e723395d588",
        "00" * 32,
        {"timestamp": 1529899509000, "number": 2657},
        "411661f25387370c9cd3a9a5d97e60ca90f4844e7e",
    ),
]
"""Of TRON's main and test networks: id, id of the parent, root, numbers, producer."""


@pytest.mark.parametrize(("block", "parent", "root", "numbers", "producer"), HEADERS)
async def test_a_blocks_id_is_that_of_its_header(
    block: str, parent: str, root: str, numbers: dict[str, int], producer: str
) -> None:
    raw: dict[str, Any] = {**numbers, "txTrieRoot": root, "parentHash": parent, "witness_address": producer}
    async with scripted_node() as node:
        provider = provider_of(node)
        node.answers["wallet/getblock"] = {"blockID": block, "block_header": {"raw_data": raw}}
        assert (await provider.block_ref(Finality.HEAD)).id == block
        false: list[dict[str, Any]] = [
            {**raw, "timestamp": raw["timestamp"] - 3000},
            {**raw, "parentHash": block},
            {**raw, "txTrieRoot": parent},
            {**raw, "version": 99},
        ]
        for header_now in false:
            node.answers["wallet/getblock"] = {"blockID": block, "block_header": {"raw_data": header_now}}
            with pytest.raises(InconsistentNode, match=f"the id {block}, its header has"):
                await provider.block_ref(Finality.HEAD)
        node.answers["wallet/getblock"] = {"blockID": block, "block_header": {"raw_data": {**raw, "new_field": 1}}}
        assert (await provider.block_ref(Finality.HEAD)).id == block, "of a later version of the protocol"
        await provider.close()
