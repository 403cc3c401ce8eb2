"""tronpy's own client and HTTP provider, unchanged, against the devnet."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from importlib import resources
from typing import Any

import pytest

from tests.witness import witness

witness("tronpy")

from tronpy import AsyncTron, Tron
from tronpy.abi import trx_abi
from tronpy.contract import Contract
from tronpy.exceptions import AddressNotFound, BlockNotFound, TransactionNotFound, TvmError, ValidationError
from tronpy.keys import PrivateKey
from tronpy.providers import AsyncHTTPProvider, HTTPProvider

from pipeline.devnet.client import DevnetClient
from pipeline.devnet.server import DevnetOptions, running
from tests.chains.devnet.hand import fresh_address

KEY = PrivateKey(bytes(31) + b"\x07")
ME = KEY.public_key.to_base58check_address()
Run = Callable[[Callable[[], Any]], Any]


@pytest.fixture
async def devnet() -> AsyncIterator[DevnetClient]:
    """A block for every transaction, so that tronpy's ``wait`` finds it at its first look."""
    options = DevnetOptions(block_time=0, instant=True, solid_lag=2)
    async with running(options) as network, DevnetClient(network.main.url) as client:
        await client.faucet(ME, 2_000_000_000)
        yield client


@pytest.fixture
async def usdt(devnet: DevnetClient) -> str:
    contract, _ = await devnet.deploy_token()
    await devnet.send_token(contract, ME, 10_000_000)
    return contract


@pytest.fixture
def tron(devnet: DevnetClient) -> Tron:
    return Tron(HTTPProvider(devnet.url))


async def test_sends_trx(tron: Tron, devnet: DevnetClient) -> None:
    receiver = fresh_address()

    def act() -> Any:
        return tron.trx.transfer(ME, receiver, 1_000_000).build().sign(KEY).broadcast().wait()

    info = await asyncio.to_thread(act)
    assert info["fee"] == 1_100_000
    assert info["receipt"] == {"net_fee": 100_000}
    assert await asyncio.to_thread(tron.get_account_balance, receiver) == Decimal(1)
    with pytest.raises(TransactionNotFound):
        await asyncio.to_thread(tron.get_solid_transaction_info, info["id"])
    await devnet.mine(2)
    assert (await asyncio.to_thread(tron.get_solid_transaction_info, info["id"]))["id"] == info["id"]
    transaction = await asyncio.to_thread(tron.get_transaction, info["id"])
    assert transaction["ret"] == [{"contractRet": "SUCCESS"}]
    assert transaction["raw_data"]["contract"][0]["parameter"]["value"]["to_address"] == receiver


async def test_moves_tokens(tron: Tron, usdt: str) -> None:
    receiver = fresh_address()

    def act() -> tuple[Any, Any]:
        token = tron.get_contract(usdt)
        assert (token.functions.symbol(), token.functions.decimals()) == ("USDT", 6)
        transfer = token.functions.transfer(receiver, 5_000_000).with_owner(ME).fee_limit(50_000_000)
        sent = transfer.build().sign(KEY).broadcast()
        assert sent.result() is True
        return sent.wait(), token

    info, token = await asyncio.to_thread(act)
    assert await asyncio.to_thread(token.functions.balanceOf, receiver) == 5_000_000
    assert info["receipt"]["result"] == "SUCCESS"
    assert info["receipt"]["net_usage"] == 345
    [event] = token.events.Transfer.parse_logs(info["log"])
    assert event["args"] == {"from": ME, "to": receiver, "value": 5_000_000}


async def test_a_reverted_call_says_why(tron: Tron, usdt: str) -> None:
    def act() -> None:
        token = tron.get_contract(usdt)
        transfer = token.functions.transfer(fresh_address(), 10**12).with_owner(ME).fee_limit(50_000_000)
        transfer.build().sign(KEY).broadcast().result()

    with pytest.raises(TvmError, match="balance is too low"):
        await asyncio.to_thread(act)


async def test_deploys_a_contract(tron: Tron) -> None:
    artifact = json.loads(resources.files("pipeline.devnet").joinpath("contracts/Token.json").read_text())
    arguments = trx_abi.encode_single("(string,string,uint8,uint256)", ("Second", "TWO", 8, 77)).hex()

    def act() -> Any:
        contract = Contract(name="Second", bytecode=artifact["bytecode"] + arguments, abi=artifact["abi"])
        sent = tron.trx.deploy_contract(ME, contract).fee_limit(1_000_000_000).build().sign(KEY).broadcast()
        deployed = tron.get_contract(sent.wait()["contract_address"])
        return deployed.functions.balanceOf(ME), deployed.functions.decimals(), deployed.origin_address

    assert await asyncio.to_thread(act) == (77, 8, ME)


async def test_reads_what_is_not_there(tron: Tron) -> None:
    for call, error in (
        (lambda: tron.get_account(fresh_address()), AddressNotFound),
        (lambda: tron.get_transaction("ab" * 32), TransactionNotFound),
        (lambda: tron.get_transaction_info("ab" * 32), TransactionNotFound),
        (lambda: tron.get_block(10_000), BlockNotFound),
        (lambda: tron.get_block("00" * 32), BlockNotFound),
    ):
        with pytest.raises(error):
            await asyncio.to_thread(call)


async def test_is_told_why_a_transfer_is_refused(tron: Tron) -> None:
    def act() -> None:
        tron.trx.transfer(ME, fresh_address(), 10**15).build().sign(KEY).broadcast()

    with pytest.raises(ValidationError, match="balance is not sufficient"):
        await asyncio.to_thread(act)


async def test_reads_the_network(tron: Tron, usdt: str, devnet: DevnetClient) -> None:
    status = await devnet.status()
    assert await asyncio.to_thread(tron.get_latest_block_number) == status.head.number
    assert await asyncio.to_thread(tron.get_latest_solid_block_number) == status.solid.number
    assert (await asyncio.to_thread(tron.get_block, 0))["blockID"] == status.genesis_id
    assert await asyncio.to_thread(tron.get_bandwidth, ME) == 600
    parameters = {item["key"]: item.get("value") for item in await asyncio.to_thread(tron.get_chain_parameters)}
    assert parameters["getEnergyFee"] == 100
    parameter = "00" * 12 + "11" * 20 + f"{5:064x}"
    energy = await asyncio.to_thread(tron.get_estimated_energy, ME, usdt, "transfer(address,uint256)", parameter)
    assert energy == 28_654


async def test_async_provider(devnet: DevnetClient, usdt: str) -> None:
    async with AsyncTron(AsyncHTTPProvider(devnet.url)) as tron:
        token = await tron.get_contract(usdt)
        assert await token.functions.balanceOf(ME) == 10_000_000
        build = await tron.trx.transfer(ME, fresh_address(), 5).build()
        sent = await build.sign(KEY).broadcast()
        assert (await sent.wait())["fee"] == 1_100_000
