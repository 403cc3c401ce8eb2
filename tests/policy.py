"""What test processes may sign: policies that no test reaches the ceilings of, unless it is about them."""

import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path

from pipeline.chains.values import Family
from pipeline.signing.ledger import SpendingLedger
from pipeline.signing.networks import Network
from pipeline.signing.policy import GAS_MAX, ContractPolicy, NetworkPolicy, to_toml
from pipeline.signing.rules import SigningRules

MOST = {Family.TRON: 10**15, Family.EVM: 10**24}
"""A billion TRX, a million coins."""


def policy(
    family: Family,
    network_id: str,
    *tokens: str,
    fee_max: int | None = None,
    day_max: int | None = None,
    treasury: str | None = None,
) -> NetworkPolicy:
    """For one network; amounts in native raw units."""
    most = MOST[family]
    limit = GAS_MAX if family is Family.EVM else None
    return NetworkPolicy(
        Network.of(family, network_id),
        {Family.TRON: "tron", Family.EVM: "bsc"}[family],
        fee_max=most if fee_max is None else fee_max,
        day_max=most if day_max is None else day_max,
        contracts={token: ContractPolicy(token, "token", limit) for token in tokens},
        treasury=treasury,
    )


def write_policy(home: Path, *policies: NetworkPolicy, name: str = "policy.toml", more: bool = False) -> Path:
    """``policy.toml`` is where the processes of this FLAGPOST_HOME look for it. ``more``: beside what is there."""
    path = home / name
    kept = path.read_text() + "\n" if more and path.exists() else ""
    path.write_text(kept + to_toml(policies))
    path.chmod(0o644)
    return path


def rules(known: NetworkPolicy, ledger: Path) -> SigningRules:
    """For a sender in this process, which counts what it signs in ``ledger``."""
    return SigningRules(known, SpendingLedger(ledger))


def ledger_of(owner: object) -> tuple[Path, Callable[[], object]]:
    """A file for a ledger that lasts as long as ``owner``, in memory where that is possible, and what removes it."""
    directory = tempfile.mkdtemp(prefix="flagpost-ledger-", dir=_memory())
    return Path(directory, "signed.jsonl"), weakref.finalize(owner, shutil.rmtree, directory)


def allow(known: SigningRules, tokens: Iterable[str]) -> SigningRules:
    """The same with more contracts."""
    kept = known.policy
    more = policy(kept.network.family, kept.network.id, *kept.contracts, *tokens, treasury=kept.treasury)
    return SigningRules(more, known._ledger)


def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
