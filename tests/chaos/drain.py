"""Taking the gas wallet's coins away, with its own key, past the money room."""

from pipeline.chains.rpc.http import NodeConfig
from pipeline.chains.tron.provider import TronProvider
from pipeline.chains.values import Asset, Family, Payment
from pipeline.keys.derivation import GAS_INDEX
from pipeline.signing.keyring import Keyring
from tests.building import build
from tests.chaos.world import MNEMONIC, World


async def drain(world: World, leave: int) -> None:
    """Send all but about ``leave`` sun of the gas wallet back to the faucet, and make that final."""
    await world.devnet.solidify()
    asset = Asset("TRX", 6)
    provider = TronProvider("tron", world.genesis, [NodeConfig(world.devnet.url)], [asset])
    amount = await world.devnet.balance(world.gas_address) - leave
    payment = Payment(world.gas_address, (await world.devnet.status()).faucet, asset, amount)
    unsigned = await build(provider, payment, await provider.estimate(payment), 60)
    signature = Keyring(MNEMONIC).sign(Family.TRON, GAS_INDEX, unsigned.digest)
    await provider.broadcast(provider.codec.attach(unsigned, signature))
    await world.devnet.solidify()
    await provider.close()
