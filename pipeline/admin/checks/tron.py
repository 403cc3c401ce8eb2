"""Doctor's question about a TRON chain's gas wallet: whether our key can still sign for it."""

from pipeline.admin.checks.findings import Findings
from pipeline.chains.errors import InsufficientFunds, PermissionChanged
from pipeline.chains.provider import Provider
from pipeline.chains.values import Asset, Payment


async def check_signer(
    found: Findings, chain: str, coin: Asset, gas: str | None, treasury: str | None, provider: Provider
) -> None:
    """Whoever changed its owner permission spends what is in it, and every top-up waits. Raises ChainError."""
    if gas is None or treasury is None or gas == treasury:
        return
    check = f"{chain}.signer"
    try:
        await provider.estimate(Payment(gas, treasury, coin, 1))
    except PermissionChanged as error:
        found.fail(
            check,
            f"gas wallet: {error}",
            f"stop gas-topup and consolidation; move what you still can; a new mnemonic for {chain}",
        )
        return
    except InsufficientFunds:
        pass  # it is empty: said elsewhere
    found.ok(check, f"the key of gas wallet {gas} signs for it alone")
