"""Our addresses out of a mnemonic, for who shows or checks them and signs nothing."""

from pipeline.chains.values import Family
from pipeline.keys.derivation import PublicBranch
from pipeline.keys.private import PrivateBranch


def public_branch(mnemonic: str, family: Family) -> PublicBranch:
    """Every address that the mnemonic derives on that family. Raises InvalidMnemonic."""
    return PrivateBranch.from_mnemonic(mnemonic, family).public
