"""Addresses that operators type, and those that the mnemonic of this host derives."""

from pipeline.admin.errors import ActionError, InvalidValue
from pipeline.chains.errors import InvalidAddress
from pipeline.chains.families.addresses import validate_address
from pipeline.chains.values import Family
from pipeline.keys.addresses import public_branch
from pipeline.keys.derivation import PublicBranch
from pipeline.keys.mnemonic import InvalidMnemonic
from pipeline.settings import Settings


def canonical_address(family: str, address: str) -> str:
    """The canonical form of an address of that family (``tron``, ``evm``). Raises InvalidValue."""
    if family not in set(Family):
        raise InvalidValue(f"addresses of {family} chains cannot be checked by this version")
    try:
        return validate_address(Family(family), address)
    except InvalidAddress as error:
        raise InvalidValue(str(error), "compare it with where you copied it from") from None


def own_branch(settings: Settings, family: str) -> PublicBranch:
    """Our addresses on that family. Raises SettingsError without a mnemonic, InvalidValue with a bad one."""
    try:
        return public_branch(settings.mnemonic().get_secret_value(), Family(family))
    except InvalidMnemonic as error:
        raise bad_mnemonic(error) from None


def bad_mnemonic(error: InvalidMnemonic) -> ActionError:
    """What is wrong with the mnemonic, without a word of it."""
    return InvalidValue(
        f"the mnemonic is not valid: {error}", "correct FLAGPOST_MNEMONIC, or the file FLAGPOST_MNEMONIC_FILE names"
    )
