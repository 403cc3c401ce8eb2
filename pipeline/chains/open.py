"""From a row of ``chains`` to the provider that serves it. A new family is one more entry."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipeline.chains.http import NodeConfig
from pipeline.chains.provider import Asset, Provider
from pipeline.chains.tron.provider import TronProvider

Opener = Callable[[str, str, Sequence[NodeConfig], Sequence[str], Sequence[Asset]], Provider]


def open_provider(
    family: str,
    name: str,
    network_id: str,
    nodes: Sequence[str | Mapping[str, Any]],
    api_keys: Sequence[str] = (),
    assets: Sequence[Asset] = (),
) -> Provider:
    """The provider of a chain; nothing is asked of a node yet (see ``check_network``).

    ``nodes`` are URLs or elements of ``chains.nodes``. Raises ValueError naming what is wrong with the
    configuration.
    """
    opener = _FAMILIES.get(family)
    if opener is None:
        raise ValueError(f"chain {name} has family {family!r}: {', '.join(sorted(_FAMILIES))} can be opened")
    try:
        configured = [NodeConfig.parse(node) for node in nodes]
    except ValueError as error:
        raise ValueError(f"chain {name}: {error}") from error
    return opener(name, network_id, configured, api_keys, assets)


def _tron(
    name: str, network_id: str, nodes: Sequence[NodeConfig], api_keys: Sequence[str], assets: Sequence[Asset]
) -> Provider:
    return TronProvider(name, network_id, nodes, assets, api_keys=api_keys)


_FAMILIES: dict[str, Opener] = {"tron": _tron}
