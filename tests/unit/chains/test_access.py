"""Keys of the environment go only to nodes that the environment names, whatever a row of the database says."""

from typing import Any

import pytest

from pipeline.catalog.access import access
from pipeline.settings import Settings

OURS, OTHER = "https://ours.example/v2/{key}", "https://other.example/v2/{key}"
KEY = "0123456789abcdef"


def settings(nodes: tuple[Any, ...] = (), keys: tuple[str, ...] = ()) -> Settings:
    return Settings(nodes={"bsc-testnet": nodes} if nodes else {}, api_keys={"bsc-testnet": keys} if keys else {})


def test_nodes_of_the_environment_get_the_keys() -> None:
    found = access(settings((OURS,), (KEY,)), "bsc-testnet", [OTHER])
    assert (found.nodes, found.api_keys) == ((OURS,), (KEY,))


def test_without_keys_the_row_names_the_nodes() -> None:
    found = access(settings(), "bsc-testnet", [OTHER])
    assert (found.nodes, found.api_keys) == ((OTHER,), ())


@pytest.mark.parametrize(
    "foreign",
    [
        OTHER,
        "http://ours.example/v2/{key}",
        "https://ours.example:8443/v2/{key}",
        {"url": OURS, "ws_url": "wss://other.example/{key}"},
        {"url": OURS, "solidity_url": "https://other.example"},
        "https://ours.example@other.example/{key}",
    ],
)
def test_a_key_for_a_node_of_the_row_is_refused_saying_what_to_set(foreign: Any) -> None:
    """Whoever can write the database can point the row anywhere."""
    with pytest.raises(
        ValueError, match=r"sent only to nodes of the environment; set FLAGPOST_NODES_BSC_TESTNET"
    ) as found:
        access(settings(keys=(KEY,)), "bsc-testnet", [foreign])
    assert "FLAGPOST_API_KEYS_BSC_TESTNET" in str(found.value)
    assert KEY not in str(found.value)
    assert "/v2" not in str(found.value)


def test_a_node_given_by_hand_gets_a_key_only_at_a_place_of_the_environment() -> None:
    there = {"url": "https://ours.example/v3/{key}"}
    assert access(settings((OURS,), (KEY,)), "bsc-testnet", [], [there]).api_keys == (KEY,)
    with pytest.raises(ValueError, match=r"https://other\.example: keys are sent only"):
        access(settings((OURS,), (KEY,)), "bsc-testnet", [], [OTHER])


def test_a_socket_may_be_named_with_its_node() -> None:
    node = {"url": OURS, "ws_url": "wss://sockets.example/{key}"}
    assert access(settings((node,), (KEY,)), "bsc-testnet", []).nodes == (node,)


def test_what_is_no_node_is_an_error_without_its_secrets() -> None:
    with pytest.raises(ValueError, match=r"node field url is 'ftp://host'") as found:
        access(settings(keys=(KEY,)), "bsc-testnet", [f"ftp://user:secret@host/{KEY}"])
    assert "secret" not in str(found.value)
    assert KEY not in str(found.value)
