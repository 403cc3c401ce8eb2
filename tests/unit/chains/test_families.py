"""Opening a chain from its row: what is wrong with the configuration is said before any node is asked."""

from typing import Any

import pytest

from pipeline.chains.evm.provider import EvmProvider
from pipeline.chains.families.providers import open_provider
from pipeline.chains.tron.provider import TronProvider
from pipeline.chains.values import Asset
from tests.unit.chains.scripted_node import GENESIS

USDT = Asset("USDT", 6, "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t")
NODE = "http://127.0.0.1:1"


def test_tron() -> None:
    nodes = [NODE, {"url": NODE, "solidity_url": "http://127.0.0.1:2"}]
    assert isinstance(open_provider("tron", "tron", GENESIS, nodes, ["key"], [USDT]), TronProvider)


def test_evm() -> None:
    nodes = [NODE, {"url": "https://node.example/v3/{key}", "ws_url": "wss://node.example/ws/{key}"}]
    fees = {"cap": 10**11, "legacy": True, "floor": 10**8}
    opened = open_provider("evm", "bsc", "56", nodes, ["key"], [Asset("BNB", 18)], fees=fees, block_seconds=0.45)
    assert isinstance(opened, EvmProvider)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"network_id": "0x38"}, "network_id of bsc is '0x38': it must be the chain id"),
        ({"network_id": "0"}, "must be the chain id, a number above 0"),
        ({"nodes": ["https://node.example/v3/{key}"]}, "has a place for an API key: set FLAGPOST_API_KEYS"),
        ({"nodes": [{"url": NODE, "ws_url": "http://x"}]}, "node field ws_url is 'http://x'"),
        ({"fees": 1}, "chain bsc: fees is 1: it must be an object"),
        ({"fees": {"cup": 1}}, r"chain bsc: fee options \['cup'\] do not exist: .*cap"),
        ({"fees": {"cap": 1.5}}, "fee option cap is 1.5: it must be a whole number"),
        ({"fees": {"cap": 5, "floor": 5}}, "cap must be the larger"),
        ({"fees": {"cap": 5, "replacement_cap": 4}}, "replacement_cap is 4 wei: it cannot be below cap 5"),
        ({"fees": {"legacy": 1}}, "fee option legacy is 1"),
        ({"fees": {"tip_percentile": 101}}, "at most 100"),
        ({"block_seconds": 0}, "block_seconds is 0"),
    ],
)
def test_bad_evm_configuration(arguments: dict[str, Any], message: str) -> None:
    right: dict[str, Any] = {"family": "evm", "name": "bsc", "network_id": "56", "nodes": [NODE]}
    with pytest.raises(ValueError, match=message):
        open_provider(**right | arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"family": "doge"}, "chain tron has family 'doge': evm, tron can be opened"),
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
