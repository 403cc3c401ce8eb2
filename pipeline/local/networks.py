"""Which networks the local mode can play on this machine, and the line that runs each."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.local.anvil import AnvilNetwork, anvil_command, find_anvil
from pipeline.local.home import LocalHome
from pipeline.local.network import LocalNetwork
from pipeline.local.procfile import Line, Phase
from pipeline.local.tron import TronNetwork, devnet_command

CHAINS = ("tron", "bsc")
NO_ANVIL = (
    "BSC is not played: no anvil here (npm ci in tests/clients installs it on Linux x86-64; one on the PATH will do)"
)
KEPT_SLOTS = 2
"""With a block a second: final after four seconds, twice the time between two dumps of the state."""


class NetworkUnavailable(Exception):
    """A chain was asked for that this machine cannot run."""


@dataclass(frozen=True, slots=True)
class ServedNetwork:
    """A network and the process that is it."""

    network: LocalNetwork
    line: Line


def playable() -> list[str]:
    """The chains that can run here."""
    return [name for name in CHAINS if name != "bsc" or find_anvil() is not None]


def place(home: LocalHome, chains: Sequence[str], block_time: float, lag: int, *, kept: bool) -> list[ServedNetwork]:
    """A place for each chain; a block is final about ``lag`` blocks later. ``kept``: for a next start.

    Raises NetworkUnavailable.
    """
    return [_tron(home, block_time, lag) if name == "tron" else _bsc(home, block_time, lag, kept) for name in chains]


def reached(node: str) -> LocalNetwork:
    """From ``name=url``, as one part of the local mode tells another."""
    name, _, url = node.partition("=")
    return TronNetwork(url) if name == "tron" else AnvilNetwork(url)


def _tron(home: LocalHome, block_time: float, lag: int) -> ServedNetwork:
    port = home.node_port()
    return ServedNetwork(TronNetwork(_url(port)), Line("tron", devnet_command(port, block_time, lag), Phase.NODE))


def _bsc(home: LocalHome, block_time: float, lag: int, kept: bool) -> ServedNetwork:
    binary = find_anvil()
    if binary is None:
        raise NetworkUnavailable(NO_ANVIL)
    port, state = home.node_port("anvil"), None
    if kept:
        state = home.anvil_state
        state.parent.mkdir(parents=True, exist_ok=True)
    slots = max(KEPT_SLOTS if kept else 1, -(-lag // 2))
    return ServedNetwork(
        AnvilNetwork(_url(port)), Line("bsc", anvil_command(binary, port, block_time, slots, state), Phase.NODE)
    )


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}"
