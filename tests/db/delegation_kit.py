"""Delegations (EIP-7702) that wallets of ours sign, in transactions of somebody else. Signed by eth_account."""

from eth_account import Account

from tests.chains.provider.evm_network import CHAIN_ID
from tests.chaos.evm_world import EvmWorld
from tests.chaos.world import MNEMONIC

ANVILS = "test test test test test test test test test test test junk"
"""The mnemonic of anvil's own accounts."""
SPONSOR = 6
STOP = "0x000000000000000000000000000000000000C0de"
"""A contract that takes coins and does nothing."""
WRITER = "0x000000000000000000000000000000000000c0Df"
"""A contract that keeps something when it is sent coins: that takes more gas than a plain transfer has."""

Account.enable_unaudited_hdwallet_features()


async def delegated(
    evm: EvmWorld, index: int, *nonces: int, to: str = STOP, chain_id: int = CHAIN_ID, sponsor: int = SPONSOR
) -> str:
    """The wallet at ``index`` signs one delegation for each of ``nonces``, and a sponsor's transaction carries them, in
    the pool; its txid."""
    node = evm.network.node
    await node.call("anvil_setCode", STOP, "0x00")
    await node.call("anvil_setCode", WRITER, "0x600160005500")
    wallet = Account.from_mnemonic(MNEMONIC, account_path=f"m/44'/60'/0'/0/{index}")
    payer = Account.from_mnemonic(ANVILS, account_path=f"m/44'/60'/0'/0/{sponsor}")
    listed = [wallet.sign_authorization({"chainId": chain_id, "address": to, "nonce": nonce}) for nonce in nonces]
    transaction = {
        "type": 4,
        "chainId": CHAIN_ID,
        "nonce": int(await node.call("eth_getTransactionCount", payer.address, "pending"), 16),
        "to": payer.address,
        "value": 0,
        "gas": 300_000,
        "maxFeePerGas": 10**9,
        "maxPriorityFeePerGas": 1,
        "data": "0x",
        "accessList": [],
        "authorizationList": listed,
    }
    signed = payer.sign_transaction(transaction)
    return str(await node.call("eth_sendRawTransaction", "0x" + bytes(signed.raw_transaction).hex()))
