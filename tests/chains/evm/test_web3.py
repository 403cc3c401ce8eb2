"""web3, which most of EVM's users read their chain with, sees what our provider sees and did."""

import json
from collections.abc import AsyncIterator

import pytest
from web3 import AsyncHTTPProvider, AsyncWeb3
from web3.contract import AsyncContract

from pipeline.chains.evm.provider import EvmProvider
from pipeline.chains.values import BalanceQuery, Finality, Payment
from tests.chains.provider.evm_network import TOKEN, EvmNetwork

PAYER, RECEIVER = 40, 41


@pytest.fixture
async def web3(network: EvmNetwork) -> AsyncIterator[AsyncWeb3]:
    made = AsyncWeb3(AsyncHTTPProvider(network.node.url))
    yield made
    await made.provider.disconnect()


@pytest.fixture
def token(network: EvmNetwork, web3: AsyncWeb3) -> AsyncContract:
    return web3.eth.contract(web3.to_checksum_address(network.token.contract), abi=json.loads(TOKEN.read_text())["abi"])


async def test_our_payment_is_what_web3_reads(
    network: EvmNetwork, provider: EvmProvider, web3: AsyncWeb3, token: AsyncContract
) -> None:
    payer, receiver = await network.address(PAYER), await network.address(RECEIVER)
    await network.fund(payer, 100_000_000, 500)
    await network.finalize()
    signed = await network.sign(provider, Payment(payer, receiver, network.token, 123), PAYER)
    await provider.broadcast(signed)
    await network.finalize()

    receipt = await web3.eth.get_transaction_receipt(signed.txid)
    (event,) = token.events.Transfer().process_receipt(receipt)
    assert dict(event["args"]) == {"from": payer, "to": receiver, "value": 123}
    sent = await web3.eth.get_transaction(signed.txid)
    assert (sent["from"], sent["to"], sent["chainId"]) == (payer, token.address, await web3.eth.chain_id)
    assert token.decode_function_input(sent["input"])[1] == {"to": receiver, "value": 123}


async def test_our_balances_are_those_of_web3(
    network: EvmNetwork, provider: EvmProvider, web3: AsyncWeb3, token: AsyncContract
) -> None:
    addresses = [await network.address(index) for index in range(PAYER, PAYER + 3)]
    for number, address in enumerate(addresses):
        await network.fund(address, 1_000 + number, 10**12 + number)
    await network.finalize()
    queries = [BalanceQuery(address, asset) for address in addresses for asset in (network.coin, network.token)]
    ours = [balance.raw for balance in await provider.balances(queries, Finality.FINAL)]
    theirs = [
        amount
        for address in addresses
        for amount in (
            await web3.eth.get_balance(address, "finalized"),
            await token.functions.balanceOf(address).call(block_identifier="finalized"),
        )
    ]
    assert ours == theirs


async def test_what_web3_pays_is_in_our_block(
    network: EvmNetwork, provider: EvmProvider, web3: AsyncWeb3, token: AsyncContract
) -> None:
    payer, receiver = network.node.accounts[0], await network.address(RECEIVER)
    await network.fund(payer, 0, 77)
    await network.mine()
    fees = {"maxFeePerGas": 10**9, "maxPriorityFeePerGas": 0}
    transfer = token.functions.transfer(receiver, 77)
    txid = await transfer.transact({"from": web3.to_checksum_address(payer), **fees})
    await network.mine()
    height = await web3.eth.block_number
    await network.finalize()
    block = await provider.block(height, Finality.FINAL)
    assert block is not None
    (ours,) = [one for one in block.transactions if one.txid == web3.to_hex(txid)]
    assert [(one.receiver, one.amount) for one in ours.effects] == [(receiver, 77)]
