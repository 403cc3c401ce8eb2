"""Delegations (EIP-7702) as nodes show them, against those that eth_account signs."""

from typing import Any

import pytest
from eth_account import Account

from pipeline.chains.evm.rpc import delegations
from pipeline.chains.values import Authorization

DELEGATE = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
CHAIN = 31337
KEY = Account.from_key("0x" + "46" * 32)
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def shown(chain_id: int = CHAIN, nonce: int = 5, **odd: Any) -> dict[str, Any]:
    """One that KEY signed, as geth and anvil write it; ``odd`` replaces fields, None removes them."""
    signed = KEY.sign_authorization({"chainId": chain_id, "address": DELEGATE, "nonce": nonce})
    one = {
        "chainId": hex(chain_id),
        "address": DELEGATE.lower(),
        "nonce": hex(nonce),
        "yParity": hex(signed.y_parity),
        "r": hex(signed.r),
        "s": hex(signed.s),
    } | odd
    return {name: value for name, value in one.items() if value is not None}


def read(*listed: Any) -> tuple[Authorization, ...]:
    return delegations.read({"type": "0x4", "chainId": hex(CHAIN), "authorizationList": list(listed)})


def test_who_signed_is_told_by_the_signature() -> None:
    assert read(shown()) == (Authorization(KEY.address, 5, DELEGATE),)
    assert read(shown(nonce=0), shown(nonce=2**63)) == (
        Authorization(KEY.address, 0, DELEGATE),
        Authorization(KEY.address, 2**63, DELEGATE),
    )


def test_the_digest_is_eth_accounts() -> None:
    signed = KEY.sign_authorization({"chainId": CHAIN, "address": DELEGATE, "nonce": 300})
    assert delegations.digest(CHAIN, DELEGATE, 300) == bytes(signed.authorization_hash)


def test_chain_id_0_is_for_every_chain_and_another_for_another() -> None:
    assert read(shown(chain_id=0)) == (Authorization(KEY.address, 5, DELEGATE),)
    assert read(shown(chain_id=1)) == ()


def test_v_in_place_of_y_parity() -> None:
    one = shown()
    assert read({**one, "v": one["yParity"], "yParity": None}) == (Authorization(KEY.address, 5, DELEGATE),)


@pytest.mark.parametrize(
    "odd",
    [
        {"s": hex(ORDER - int(shown()["s"], 16))},
        {"s": "0x0"},
        {"r": "0x0"},
        {"r": hex(2**256 - 1)},
        {"yParity": "0x2"},
        {"nonce": hex(2**64 - 1)},
    ],
    ids=["high s", "s 0", "r 0", "r beyond the curve", "parity 2", "last nonce"],
)
def test_what_no_chain_accepts_is_nobodys(odd: dict[str, str]) -> None:
    """The transaction that carries it is as good as any."""
    assert read({**shown(), **odd}, shown()) == (Authorization(KEY.address, 5, DELEGATE),)


@pytest.mark.parametrize(
    "transaction",
    [
        {"chainId": "0x1", "authorizationList": {"0": {}}},
        {"chainId": "0x1", "authorizationList": "0x"},
        {"authorizationList": [shown()]},
        {"chainId": "0x7a69", "authorizationList": [{**shown(), "nonce": "five"}]},
        {"chainId": "0x7a69", "authorizationList": [{**shown(), "address": "0x12"}]},
        {"chainId": "0x7a69", "authorizationList": [{**shown(), "r": None}]},
        {"chainId": "0x7a69", "authorizationList": [None]},
    ],
)
def test_another_shape_is_the_nodes_fault(transaction: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        delegations.read(transaction)


def test_other_transactions_have_none() -> None:
    assert delegations.read({"type": "0x2", "chainId": "0x1"}) == ()
    assert delegations.read({"type": "0x2", "authorizationList": None}) == ()
    assert delegations.read({"type": "0x4", "authorizationList": []}) == ()
