"""Opening a chain from its row: what is wrong with the configuration is said before any node is asked."""

from typing import Any

import pytest

from pipeline.chains.open import open_provider
from pipeline.chains.provider import Asset
from pipeline.chains.tron.provider import TronProvider
from tests.unit.chains.scripted_node import GENESIS

USDT = Asset("USDT", 6, "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t")
NODE = "http://127.0.0.1:1"


def test_tron() -> None:
    nodes = [NODE, {"url": NODE, "solidity_url": "http://127.0.0.1:2"}]
    assert isinstance(open_provider("tron", "tron", GENESIS, nodes, ["key"], [USDT]), TronProvider)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"family": "doge"}, "chain tron has family 'doge': tron can be opened"),
        ({"network_id": "728126428"}, "network_id of tron is '728126428': it must be the genesis block id"),
        ({"network_id": "g" * 64}, "must be the genesis block id"),
        ({"nodes": []}, "chain tron has no node: set FLAGPOST_NODES_TRON"),
        ({"nodes": ["localhost:8090"]}, "chain tron: node field url is 'localhost:8090'"),
    ],
)
def test_bad_configuration(arguments: dict[str, Any], message: str) -> None:
    right: dict[str, Any] = {"family": "tron", "name": "tron", "network_id": GENESIS, "nodes": [NODE]}
    with pytest.raises(ValueError, match=message):
        open_provider(**right | arguments)


def test_a_bad_contract_address_does_not_keep_a_chain_closed() -> None:
    bad = Asset("USDT", 6, "0x" + "11" * 20)
    assert isinstance(open_provider("tron", "tron", GENESIS, [NODE], assets=[bad]), TronProvider)
