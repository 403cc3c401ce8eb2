"""What doctor's questions about one chain share."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from pipeline.admin.checks.check import Examination
from pipeline.admin.nodes import opened
from pipeline.admin.session import Row
from pipeline.catalog.chains import ChainRow
from pipeline.chains.provider import Provider
from pipeline.chains.rpc.http import NodeConfig
from pipeline.chains.values import Asset
from pipeline.keys.derivation import GAS_INDEX, TREASURY_INDEX, PublicBranch
from pipeline.settings import Settings
from pipeline.units import to_human


@dataclass(frozen=True, slots=True)
class ChainContext:
    """What the checks of one chain share."""

    settings: Settings
    chain: Row
    tokens: tuple[Asset, ...]
    native: Asset
    branch: PublicBranch | None
    pinned_treasury: str | None
    """Of this host's signing policy."""
    examination: Examination

    @property
    def name(self) -> str:
        """Of the chain."""
        return str(self.chain["name"])

    @property
    def gas_address(self) -> str | None:
        """Ours by derivation; the database's word where the mnemonic is elsewhere."""
        return self.branch.address(GAS_INDEX) if self.branch else self.chain["gas_address"]

    @property
    def treasury_address(self) -> str | None:
        """What the executor believes: the pinned one, else our own index 1."""
        return self.pinned_treasury or (
            self.branch.address(TREASURY_INDEX) if self.branch else self.chain["treasury_address"]
        )

    def coins(self, raw: int) -> str:
        """An amount of the native coin."""
        return f"{to_human(raw, self.native.decimals)} {self.native.symbol}"

    def provider(self, nodes: Sequence[NodeConfig]) -> Provider:
        """Over these nodes. Raises InvalidValue for a network_id that is none."""
        assets = [self.native, *self.tokens]
        return opened(self.settings, ChainRow.of(self.chain), [asdict(node) for node in nodes], assets)
