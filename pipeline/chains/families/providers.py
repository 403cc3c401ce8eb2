"""From what a row of ``chains`` says to the provider that serves the chain."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.chains.provider import Provider
from pipeline.chains.rpc.http import NodeConfig
from pipeline.chains.rpc.nodes import PATIENCE
from pipeline.chains.values import Asset


@dataclass(frozen=True, slots=True)
class _Chain:
    """A chain with its assets, its nodes parsed."""

    name: str
    network_id: str
    nodes: Sequence[NodeConfig]
    api_keys: Sequence[str]
    assets: Sequence[Asset]
    fees: Mapping[str, Any]
    block_seconds: float
    patience: float


def open_provider(
    family: str,
    name: str,
    network_id: str,
    nodes: Sequence[str | Mapping[str, Any]],
    api_keys: Sequence[str] = (),
    assets: Sequence[Asset] = (),
    *,
    fees: Mapping[str, Any] | None = None,
    block_seconds: float = 3.0,
    patience: float = PATIENCE,
) -> Provider:
    """The provider of a chain; nothing is asked of a node yet (see ``check_network``).

    ``nodes`` are URLs or elements of ``chains.nodes``. ``fees`` (see ``FeePolicy``) and ``block_seconds`` are EVM's;
    ``patience`` is how many seconds a question is tried over.

    Raises ValueError naming what is wrong with the configuration, InvalidAddress for a contract of an EVM asset.
    """
    opener = _FAMILIES.get(family)
    if opener is None:
        raise ValueError(f"chain {name} has family {family!r}: {', '.join(sorted(_FAMILIES))} can be opened")
    try:
        configured = [NodeConfig.parse(node) for node in nodes]
    except ValueError as error:
        raise ValueError(f"chain {name}: {error}") from error
    return opener(_Chain(name, network_id, configured, api_keys, assets, fees or {}, block_seconds, patience))


# A family's libraries are imported when a chain of it is opened.


def _tron(chain: _Chain) -> Provider:
    from pipeline.chains.tron.provider import TronProvider

    return TronProvider(
        chain.name, chain.network_id, chain.nodes, chain.assets, api_keys=chain.api_keys, patience=chain.patience
    )


def _evm(chain: _Chain) -> Provider:
    from pipeline.chains.evm.provider import EvmProvider
    from pipeline.chains.evm.rpc.fees import FeePolicy

    if not chain.network_id.isascii() or not chain.network_id.isdecimal():
        raise ValueError(f"network_id of {chain.name} is {chain.network_id!r}: it must be the chain id, a number")
    if chain.block_seconds <= 0:
        raise ValueError(f"chain {chain.name}: block_seconds is {chain.block_seconds!r}: it must be a number above 0")
    if not isinstance(chain.fees, Mapping):
        raise ValueError(f"chain {chain.name}: fees is {chain.fees!r}: it must be an object")  # noqa: TRY004
    try:
        policy = FeePolicy.parse(chain.fees)
    except ValueError as error:
        raise ValueError(f"chain {chain.name}: {error}") from error
    return EvmProvider(
        chain.name,
        int(chain.network_id),
        chain.nodes,
        chain.assets,
        api_keys=chain.api_keys,
        fee_policy=policy,
        block_seconds=chain.block_seconds,
        patience=chain.patience,
    )


_FAMILIES: dict[str, Callable[[_Chain], Provider]] = {"evm": _evm, "tron": _tron}
