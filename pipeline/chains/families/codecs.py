"""From a family and a network to its codec. Pure as codecs are: signing imports it, and no node with it."""

from collections.abc import Callable, Sequence

from pipeline.chains.codec import Codec
from pipeline.chains.values import Asset


def codec_of(family: str, network_id: str, assets: Sequence[Asset] = ()) -> Codec:
    """The codec of a network. ``network_id``: the genesis block id on TRON, the chain id on EVM. ``assets``: what
    ``decode`` names; others are "token".

    Raises ValueError for another family and for a network id of another form, InvalidAddress for a contract.
    """
    maker = _FAMILIES.get(family)
    if maker is None:
        raise ValueError(f"family {family!r} has no codec: {', '.join(sorted(_FAMILIES))} have one")
    return maker(network_id, assets)


# A family's libraries are imported when a network of it is used.


def _tron(network_id: str, assets: Sequence[Asset]) -> Codec:
    from pipeline.chains.tron.codec.codec import TronCodec

    return TronCodec(assets)  # the genesis block is not in the bytes: a transaction refers to a block of its network


def _evm(network_id: str, assets: Sequence[Asset]) -> Codec:
    from pipeline.chains.evm.codec.codec import EvmCodec

    if not network_id.isascii() or not network_id.isdecimal():
        raise ValueError(f"network_id is {network_id!r}: it must be the chain id, a number")
    return EvmCodec(int(network_id), assets)


_FAMILIES: dict[str, Callable[[str, Sequence[Asset]], Codec]] = {"evm": _evm, "tron": _tron}
