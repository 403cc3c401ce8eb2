"""What local mode keeps under FLAGPOST_HOME besides the database: the mnemonic and where the network listens."""

import os
import random
import socket
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from pipeline.chains.values import Family
from pipeline.keys.addresses import public_branch
from pipeline.keys.derivation import GAS_INDEX, TREASURY_INDEX, PublicBranch
from pipeline.keys.mnemonic import generate
from pipeline.signing.policy import NetworkPolicy, to_toml

_PORTS = range(20_000, 30_000)
"""Below those that systems give to outgoing connections: none of them takes it before the network has, or overnight."""


@dataclass(frozen=True, slots=True)
class LocalHome:
    """One home directory."""

    path: Path

    @property
    def devnet(self) -> Path:
        """The simulated network's journal."""
        return self.path / "devnet"

    @property
    def anvil_state(self) -> Path:
        """What anvil keeps of BSC between two starts."""
        return self.path / "anvil" / "state.json"

    @property
    def mnemonic_file(self) -> Path:
        """Read by the signing processes when no FLAGPOST_MNEMONIC is set."""
        return self.path / "mnemonic"

    def ensure_mnemonic(self) -> bool:
        """Write a new mnemonic, readable by its owner alone, unless there is one. True when it is new."""
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            # Created with its final permissions: at no moment may another user read it.
            handle = os.open(self.mnemonic_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return False
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(generate() + "\n")
        return True

    def write_policy(self, networks: Sequence[NetworkPolicy]) -> None:
        """What the signing processes of this home may sign: its own networks, and nothing else."""
        said = "# Written at each start of the local networks, for them alone.\n\n"
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / "policy.toml").write_text(said + to_toml(networks), encoding="utf-8")

    def branch(self, family: Family = Family.TRON) -> PublicBranch:
        """The addresses that the home's mnemonic derives. Raises InvalidMnemonic, FileNotFoundError."""
        return public_branch(self.mnemonic_file.read_text(encoding="utf-8"), family)

    def gas_and_treasury(self, family: Family = Family.TRON) -> tuple[str, str]:
        """Addresses of the gas wallet and the treasury."""
        branch = self.branch(family)
        return branch.address(GAS_INDEX), branch.address(TREASURY_INDEX)

    def node_port(self, network: str = "devnet") -> int:
        """A free port for a local network: the one of the last start if nobody has taken it."""
        file = self.path / f"{network}.port"
        known = int(file.read_text(encoding="utf-8")) if file.exists() else 0
        port = known if known and _is_free(known) else _free_port()
        self.path.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{port}\n", encoding="utf-8")
        return port


def _is_free(port: int) -> bool:
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    while not _is_free(port := random.choice(_PORTS)):  # noqa: S311 - spreads homes, guards nothing
        pass
    return port
