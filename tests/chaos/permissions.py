"""Somebody who has a key of ours once changes the account's owner permission, and locks us out."""

import aiohttp

from pipeline.chains.tron.codec import address
from pipeline.chains.values import Family
from pipeline.curve import PrivateKey
from pipeline.devnet import encoding
from pipeline.devnet.messages import AccountPermissionUpdateContract, Permission, Transaction
from pipeline.devnet.permissions import default
from pipeline.signing.keyring import Keyring
from tests.chains.devnet.hand import Api, Hand, new_key
from tests.chaos.world import MNEMONIC, World


async def take_over(world: World, index: int) -> PrivateKey:
    """Of our account at a derivation index; waits in the pool until the next block. Returns the only key that may sign
    for it from then on."""
    signer, thief = Keyring(MNEMONIC), new_key()
    await world.devnet.set_params(permission_fee=0)
    ours = signer.address(Family.TRON, index)
    keys = [{"address": encoding.address_of(thief), "weight": 1}]
    contract = AccountPermissionUpdateContract(
        owner_address=address.to_bytes(ours),
        owner=Permission(permission_name="owner", threshold=1, keys=keys),
        actives=[
            Permission(
                type=2, permission_name="active", threshold=1, keys=keys, operations=default(b"").actives[0].operations
            )
        ],
    )
    async with aiohttp.ClientSession() as session:
        api = Api(session, world.devnet.url)
        raw = await Hand(api).raw("AccountPermissionUpdateContract", contract)
        signature = signer.sign(Family.TRON, index, encoding.sha256(raw.SerializeToString()))
        answer = await api.send(Transaction(raw_data=raw, signature=[signature]).SerializeToString())
        assert answer["result"], answer
    return thief
