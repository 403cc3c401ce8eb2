"""java-tron's odd answers: 200 with Error, {}, [], hex or base58, what /walletsolidity has not."""

from pipeline.chains.tron.codec.address import to_bytes
from pipeline.devnet.client import DevnetClient
from pipeline.devnet.encoding import contract_address
from pipeline.devnet.tokens import token_artifact
from tests.chains.devnet.hand import Api, Hand, fresh_address, selector, word


async def test_nothing_found_is_an_empty_object(api: Api) -> None:
    missing = "ab" * 32
    for path, body in (
        ("wallet/getaccount", {"address": "41" + "00" * 19 + "09"}),
        ("wallet/getaccountresource", {"address": "41" + "00" * 19 + "09"}),
        ("wallet/getaccountnet", {"address": "41" + "00" * 19 + "09"}),
        ("wallet/getcontract", {"value": "41" + "00" * 19 + "09"}),
        ("wallet/getblockbynum", {"num": 9999}),
        ("wallet/getblockbynum", {"num": -1}),
        ("wallet/getblockbyid", {"value": missing}),
        ("wallet/gettransactionbyid", {"value": missing}),
        ("wallet/gettransactioninfobyid", {"value": missing}),
        ("walletsolidity/gettransactioninfobyid", {"value": missing}),
        ("wallet/getblockbylimitnext", {"startNum": 0, "endNum": 101}),
        ("wallet/getblockbylimitnext", {"startNum": 5, "endNum": 5}),
        ("wallet/gettransactioninfobyblocknum", {"num": 0}),
    ):
        assert await api.ask(path, **body) == {}, path


async def test_empty_block_and_unknown_block_have_the_same_receipts(api: Api, devnet: DevnetClient) -> None:
    empty = await devnet.mine()
    assert await api.ask("wallet/gettransactioninfobyblocknum", num=empty.number) == []
    assert await api.ask("wallet/gettransactioninfobyblocknum", num=empty.number + 1) == []
    assert "transactions" not in await api.ask("wallet/getblockbynum", num=empty.number)


async def test_errors_come_with_status_200(api: Api) -> None:
    for path, body in (
        ("wallet/getaccount", {"address": "not hex"}),
        ("wallet/getaccount", {"address": fresh_address()}),  # base58 without visible
        ("wallet/getaccount", {"address": "41" + "00" * 20, "visible": True}),
        ("wallet/getblockbynum", {"num": "seven"}),
        ("wallet/getblockbynum", {"num": 1.5}),
        ("wallet/broadcasthex", {"transaction": "zz"}),
        ("wallet/broadcasthex", {"transaction": "ffff"}),
        ("wallet/broadcasttransaction", {}),
        ("wallet/createtransaction", {"owner_address": "41" + "00" * 20, "to_address": "41" + "01" * 20, "amount": 1}),
        ("wallet/getblock", {"id_or_num": "nonsense"}),
    ):
        answer = await api.ask(path, **body)
        assert list(answer) == ["Error"], (path, answer)


async def test_a_body_that_is_no_json(api: Api) -> None:
    async with api._session.post(f"{api.url}/wallet/getnowblock", data="<xml>") as reply:
        assert reply.status == 200
        assert "Error" in await reply.json()


async def test_paths_that_do_not_exist(api: Api) -> None:
    for path in ("wallet/nosuchthing", "walletsolidity/broadcasthex", "walletsolidity/getaccountresource"):
        status, text = await api.post(path)
        assert status == 404
        assert text.startswith("<html>")


async def test_blocks_are_linked_and_named_by_their_height(api: Api, devnet: DevnetClient) -> None:
    await devnet.mine(3)
    head = await api.ask("wallet/getnowblock")
    number = head["block_header"]["raw_data"]["number"]
    assert int(head["blockID"][:16], 16) == number
    parent = await api.ask("wallet/getblockbynum", num=number - 1)
    assert head["block_header"]["raw_data"]["parentHash"] == parent["blockID"]
    assert await api.ask("wallet/getblockbyid", value=parent["blockID"]) == parent
    span = await api.ask("wallet/getblockbylimitnext", startNum=number - 1, endNum=number + 5)
    assert span == {"block": [parent, head]}
    assert (await api.ask("wallet/getblockbylatestnum", num=1))["block"] == [head]
    assert (await api.ask("wallet/getblock", id_or_num=str(number), detail=True)) == head
    genesis = await api.ask("wallet/getblockbynum", num=0)
    assert "number" not in genesis["block_header"]["raw_data"], "zero is left out"


async def test_get_requests_work_too(api: Api, devnet: DevnetClient) -> None:
    async with api._session.get(f"{api.url}/wallet/getblockbynum", params={"num": "1"}) as reply:
        assert int((await reply.json())["blockID"][:16], 16) == 1


async def test_hex_or_base58(api: Api, alice: Hand) -> None:
    raw = to_bytes(alice.address).hex()
    plain = await api.ask("wallet/getaccount", address=raw)
    shown = await api.ask("wallet/getaccount", address=alice.address, visible=True)
    assert (plain["address"], shown["address"]) == (raw, alice.address)
    assert plain["balance"] == shown["balance"] == 1_000_000_000


async def test_log_addresses_have_no_prefix(api: Api, alice: Hand, devnet: DevnetClient, usdt: str) -> None:
    answer = await api.send(await alice.send_token(usdt, fresh_address(), 5))
    await devnet.mine()
    plain = await api.ask("wallet/gettransactioninfobyid", value=answer["txid"])
    assert plain["log"][0]["address"] == to_bytes(usdt).hex()[2:]
    assert plain["contract_address"] == to_bytes(usdt).hex()
    assert plain["log"][0]["topics"][1] == word(alice.address).hex()
    shown = await api.ask("wallet/gettransactioninfobyid", value=answer["txid"], visible=True)
    assert shown["log"][0]["address"] == shown["contract_address"] == usdt
    [listed] = await api.ask("wallet/gettransactioninfobyblocknum", num=plain["blockNumber"])
    assert listed == plain


async def test_a_constant_call_that_reverts_says_result_true(api: Api, alice: Hand, usdt: str) -> None:
    body = {
        "owner_address": to_bytes(alice.address).hex(),
        "contract_address": to_bytes(usdt).hex(),
        "function_selector": "transfer(address,uint256)",
        "parameter": (word(fresh_address()) + word(10**18)).hex(),
    }
    answer = await api.ask("wallet/triggerconstantcontract", **body)
    assert answer["result"] == {"result": True, "message": b"REVERT opcode executed".hex()}
    assert answer["transaction"]["ret"] == [{"ret": "FAILED"}]
    assert answer["constant_result"][0].startswith(selector("Error(string)").hex())
    estimate = await api.ask("wallet/estimateenergy", **body)
    assert estimate["result"]["code"] == "CONTRACT_EXE_ERROR"


async def test_a_constant_call_changes_nothing(api: Api, alice: Hand, usdt: str, devnet: DevnetClient) -> None:
    receiver = fresh_address()
    answer = await api.ask(
        "wallet/triggerconstantcontract",
        owner_address=alice.address,
        contract_address=usdt,
        data=(selector("transfer(address,uint256)") + word(receiver) + word(5)).hex(),
        visible=True,
    )
    assert answer["result"] == {"result": True}
    assert answer["energy_used"] == 28_654
    assert answer["transaction"]["ret"] == [{}]
    assert await devnet.balance(receiver, usdt) == 0


async def test_a_constant_call_to_nothing(api: Api, alice: Hand) -> None:
    answer = await api.ask(
        "wallet/triggerconstantcontract",
        owner_address=alice.address,
        contract_address=fresh_address(),
        function_selector="balanceOf(address)",
        parameter=word(alice.address).hex(),
        visible=True,
    )
    assert answer == {"result": {"code": "CONTRACT_VALIDATE_ERROR", "message": "Smart contract is not exist."}}
    answer = await api.ask("wallet/triggerconstantcontract", owner_address=alice.address, visible=True)
    assert answer["result"]["code"] == "OTHER_ERROR"


async def test_creation_code_without_a_contract_runs_its_constructor(api: Api, alice: Hand) -> None:
    """Returns 32 bytes: the balance of an address, as a batch read would."""
    # PUSH20 address; BALANCE; PUSH1 0; MSTORE; PUSH1 32; PUSH1 0; RETURN
    code = b"\x73" + to_bytes(alice.address)[1:] + bytes.fromhex("3160005260206000f3")
    answer = await api.ask(
        "walletsolidity/triggerconstantcontract",
        owner_address=fresh_address(),
        data=code.hex(),
        visible=True,
    )
    assert int(answer["constant_result"][0], 16) == 1_000_000_000
    assert answer["energy_used"] >= 32 * 200, "200 energy for each byte returned"
    invalid = await api.ask("wallet/triggerconstantcontract", owner_address=fresh_address(), data="fe", visible=True)
    assert invalid["result"]["code"] == "OTHER_ERROR"
    assert "IllegalOperationException" in invalid["result"]["message"]


async def test_a_constructor_may_return_more_than_a_contract_may_hold(api: Api) -> None:
    """500 balances read by 16 kB of creation code, 16 kB returned: neither of Ethereum's size limits is here."""
    one = bytes.fromhex("31") + b"\x80\x60\x00\x52\x50"  # BALANCE, DUP1, PUSH1 0, MSTORE, POP
    code = b"".join(b"\x73" + number.to_bytes(20, "big") + one for number in range(1000, 1500))
    code += b"\x61\x3e\x80\x60\x00\xf3"  # RETURN 16,000 bytes
    answer = await api.ask(
        "wallet/triggerconstantcontract", owner_address=fresh_address(), data=code.hex(), visible=True
    )
    assert len(answer["constant_result"][0]) == 32_000
    assert answer["energy_used"] > 16_000 * 200


async def test_contract_addresses_are_computed_as_tron_does(api: Api, devnet: DevnetClient) -> None:
    contract, txid = await devnet.deploy_token("ABC", 3, 5)
    owner = to_bytes((await devnet.status()).faucet)
    assert to_bytes(contract) == contract_address(bytes.fromhex(txid), owner)
    await devnet.mine()
    found = await api.ask("wallet/getcontract", value=contract, visible=True)
    assert found["contract_address"] == contract
    assert found["abi"]["entrys"][0]["type"] == "Constructor"
    assert found["bytecode"].startswith(token_artifact()["bytecode"])
    info = await api.ask("wallet/getcontractinfo", value=contract, visible=True)
    assert len(info["runtimecode"]) > 1000


async def test_node_info_and_parameters(api: Api, devnet: DevnetClient) -> None:
    status = await devnet.status()
    info = await api.ask("wallet/getnodeinfo")
    assert info["block"] == f"Num:{status.head.number},ID:{status.head.id}"
    assert info["solidityBlock"] == f"Num:{status.solid.number},ID:{status.solid.id}"
    prices = {p["key"]: p.get("value") for p in (await api.ask("wallet/getchainparameters"))["chainParameter"]}
    assert (prices["getEnergyFee"], prices["getTransactionFee"], prices["getCreateAccountFee"]) == (100, 1000, 100_000)


async def test_validate_address(api: Api) -> None:
    good = fresh_address()
    assert await api.ask("wallet/validateaddress", address=good) == {"result": True, "message": "Base58check format"}
    assert (await api.ask("wallet/validateaddress", address=to_bytes(good).hex()))["result"] is True
    mistyped = good[:-1] + ("1" if good[-1] != "1" else "2")
    assert (await api.ask("wallet/validateaddress", address=mistyped))["result"] is False


async def test_the_pool_can_be_read(api: Api, alice: Hand) -> None:
    assert await api.ask("wallet/getpendingsize") == {"pendingSize": 0}
    answer = await api.send(await alice.transfer(fresh_address(), 5))
    assert await api.ask("wallet/gettransactionlistfrompending") == {"txId": [answer["txid"]]}
    assert (await api.ask("wallet/gettransactionfrompending", value=answer["txid"]))["txID"] == answer["txid"]
