"""Contracts made by TRON's own compiler (contracts/TronTokens.sol)."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from eth_abi.abi import encode


@cache
def artifact(name: str) -> dict[str, Any]:
    text = (Path(__file__).parent / "contracts" / f"{name}.json").read_text("utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def creation(name: str, *arguments: Any) -> bytes:
    """Creation code of a contract with the arguments of its constructor."""
    (constructor,) = [entry for entry in artifact(name)["abi"] if entry["type"] == "constructor"] or [{"inputs": []}]
    types = [one["type"] for one in constructor["inputs"]]
    return bytes.fromhex(artifact(name)["bytecode"]) + encode(types, arguments)
