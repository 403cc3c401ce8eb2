"""Which nodes a chain is asked at, and which of them gets the API keys of the environment.

Nodes may stand in a row of ``chains``, which whoever can write the database can point anywhere; keys may not leave for
such a place. So a key is sent only to a host that the environment itself names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.chains.rpc.http import NodeConfig, origin
from pipeline.settings import Settings

Named = str | Mapping[str, Any]
"""A node as it is written down: a URL, or an object of ``chains.nodes``."""


@dataclass(frozen=True, slots=True)
class Access:
    """The nodes of a chain, in order of preference, and the keys for them."""

    nodes: tuple[Named, ...]
    api_keys: tuple[str, ...]


def access(settings: Settings, chain: str, row_nodes: Sequence[Named], given: Sequence[Named] = ()) -> Access:
    """The nodes ``given`` by hand, else those of the environment, else those of the chain's row, with the environment's
    keys.

    Raises ValueError for keys whose nodes the environment does not name, saying what to set, and for a node that is not
    one.
    """
    named: tuple[Named, ...] = settings.nodes.get(chain, ())
    nodes = tuple(given) or named or tuple(row_nodes)
    keys = tuple(key.get_secret_value() for key in settings.api_keys.get(chain, ()))
    if keys:
        unnamed = _places(nodes) - _places(named)
        if unnamed:
            suffix = chain.upper().replace("-", "_")
            raise ValueError(
                f"chain {chain} has API keys (FLAGPOST_API_KEYS_{suffix}) and a node that the environment does not "
                f"name, {', '.join(sorted(unnamed))}: keys are sent only to nodes of the environment; set "
                f"FLAGPOST_NODES_{suffix} to the URLs that they are for"
            )
    return Access(nodes, keys)


def _places(nodes: Sequence[Named]) -> set[str]:
    """Where a key would be sent."""
    configs = [NodeConfig.parse(node) for node in nodes]
    return {
        origin(url) for config in configs for url in (config.url, config.solidity_url, config.ws_url) if url is not None
    }
