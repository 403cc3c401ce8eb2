"""Doctor's questions to a chain: are its nodes of the right network, our wallets funded, and what would gas cost."""

import math
from collections.abc import Awaitable, Callable

from pipeline.admin.addresses import own_branch
from pipeline.admin.checks.chain_context import ChainContext
from pipeline.admin.checks.check import NEWEST, Check, Examination, answered
from pipeline.admin.checks.fees import check_fees
from pipeline.admin.checks.findings import Findings, Level
from pipeline.admin.checks.nodes import CHECKS as NODE_CHECKS
from pipeline.admin.checks.nodes import check_nodes
from pipeline.admin.checks.tron import check_signer
from pipeline.admin.errors import ActionError
from pipeline.admin.policy import treasury_of
from pipeline.admin.session import Row
from pipeline.chains.errors import (
    ChainError,
    ChainUnavailable,
    InconsistentNode,
    InvalidAddress,
    NotAToken,
    WrongNetwork,
)
from pipeline.chains.provider import Provider
from pipeline.chains.values import Asset, BalanceQuery, Family
from pipeline.db.statements import statement
from pipeline.keys.derivation import GAS_INDEX, PublicBranch
from pipeline.settings import Settings, SettingsError
from pipeline.units import parse_raw, to_human

CHECKS = (
    Check("CHAIN.mnemonic", right="the mnemonic is valid", cure="correct FLAGPOST_MNEMONIC, or FLAGPOST_MNEMONIC_FILE"),
    Check("CHAIN.assets", right="every token is what its row says", cure="flagpost assets disable CHAIN SYMBOL"),
    Check("CHAIN.signer", right="our key signs alone for the gas wallet", cure="a new mnemonic for the chain"),
    Check("CHAIN.treasury", right="the treasury is an address", cure="correct FLAGPOST_TREASURY_NETWORK"),
    Check("CHAIN.gas", right="the gas wallet can pay", cure="send the coin to it"),
    Check(
        "CHAIN.fees",
        right="the price of gas is below the cap",
        cure="flagpost config set CHAIN.fees.cap",
        level=Level.WARN,
    ),
    Check(
        "CHAIN.threshold",
        right="a day's budget fills the wallets",
        cure="raise CHAIN.gas_max_per_day, or: flagpost config set CHAIN.gas_policy on_demand",
        level=Level.WARN,
    ),
    Check("CHAIN.wallets", right="every wallet can be read", cure="flagpost wallets list", level=Level.WARN),
    Check(
        "CHAIN.derivation",
        right="wallets are derived by our mnemonic",
        cure="correct address or index",
        level=Level.WARN,
    ),
)
"""What this module asks; ids begin with the name of the chain."""
SLICE = 5_000
"""Wallets derived again at a time."""
SHOWN = 3
DERIVED = 5_000
"""Wallets derived again without ``--full``: those with the highest indices. Each takes 50 µs."""


async def check_chain(found: Findings, examination: Examination, chain: Row) -> None:
    """Every check of one chain."""
    connection, settings = examination.connection, examination.settings
    if chain["family"] not in set(Family):
        found.note(f"{chain['name']}", f"{chain['name']}: {chain['family']} chains are not checked by this version")
        return
    context = ChainContext(
        settings=settings,
        chain=chain,
        tokens=tuple(
            Asset(row["symbol"], row["decimals"], row["contract_address"])
            for row in connection.execute(statement("doctor/assets"), {"chain_id": chain["id"]})
        ),
        native=Asset(*_coin(chain)),
        branch=_check_mnemonic(found, settings, chain),
        pinned_treasury=_pinned_treasury(settings, chain),
        examination=examination,
    )
    if chain["coin"] is None:
        found.fail(
            f"{context.name}.assets",
            f"{context.name} has no native coin",
            "insert it into asset_on_chain, without a contract",
        )
    provider: Provider | None = None
    with answered(found, connection, _named("CHAIN.node"), context.name):
        provider = await check_nodes(found, context)
    if provider is not None:
        try:
            await _ask_nodes(found, context, provider)
        finally:
            await provider.close()
    with answered(found, connection, _named("CHAIN.wallets"), context.name):
        _check_wallets(found, context)
    if context.branch is not None:
        with answered(found, connection, _named("CHAIN.derivation"), context.name):
            _check_derivation(found, context, context.branch)


async def _ask_nodes(found: Findings, context: ChainContext, provider: Provider) -> None:
    """What nodes are asked for that are right. Once none of them answers soundly, the rest is not asked."""
    chain, addresses = context.chain, (context.gas_address, context.treasury_address)
    questions: dict[str, Callable[[], Awaitable[None]]] = {
        "CHAIN.assets": lambda: _check_tokens(found, context, provider)
    }
    if (gas := provider.capabilities.gas) is not None:
        questions["CHAIN.fees"] = lambda: check_fees(found, chain, context.coins, gas)
    if chain["family"] == Family.TRON:
        questions["CHAIN.signer"] = lambda: check_signer(found, context.name, context.native, *addresses, provider)
    questions["CHAIN.treasury"] = lambda: _check_treasury(found, context, provider)
    questions["CHAIN.gas"] = lambda: _check_gas_wallet(found, context, provider)
    for check, question in questions.items():
        with answered(found, context.examination.connection, _named(check), context.name):
            try:
                await question()
            except (ChainUnavailable, WrongNetwork, InconsistentNode) as error:
                found.fail(f"{context.name}.node", f"{context.name}: {error}", "run doctor again; check the node")
                return
            except ChainError as error:
                name = check.replace("CHAIN", context.name)
                found.fail(name, f"{context.name}: {error}", _named(check).cure)


def _named(check: str) -> Check:
    return next(one for one in (*CHECKS, *NODE_CHECKS) if one.id == check)


def _coin(chain: Row) -> tuple[str, int]:
    default = ("TRX", 6) if chain["family"] == Family.TRON else ("coin", 18)
    return (chain["coin"], chain["coin_decimals"]) if chain["coin"] else default


def _derive(name: str) -> str:
    return f"flagpost wallets derive --count 10{'' if name == 'tron' else f' --chain {name}'}"


def _check_mnemonic(found: Findings, settings: Settings, chain: Row) -> PublicBranch | None:
    name = f"{chain['name']}.mnemonic"
    try:
        branch = own_branch(settings, chain["family"])
    except SettingsError as error:
        found.fail(name, str(error), "needed here if gas-topup or consolidation run on this machine")
        return None
    except ActionError as error:
        found.fail(name, error.message, error.hint)
        return None
    found.ok(name, f"mnemonic valid; gas wallet {branch.address(GAS_INDEX)}")
    return branch


def _pinned_treasury(settings: Settings, chain: Row) -> str | None:
    try:
        return treasury_of(settings, chain)
    except ActionError:
        return None  # said by check_policy


async def _check_tokens(found: Findings, context: ChainContext, provider: Provider) -> None:
    """Whether each contract says of itself what its row says."""
    agreeing = []
    for token in context.tokens:
        check = f"{context.name}.{token.symbol}"
        try:
            said = await provider.inspect_token(str(token.contract))
        except (NotAToken, InvalidAddress) as error:
            found.fail(check, str(error), f"flagpost assets disable {context.name} {token.symbol}")
            continue
        if said.decimals != token.decimals:
            found.fail(
                check,
                f"{token.contract} has {said.decimals} decimals by its contract, {token.decimals} in asset_on_chain",
                f"flagpost assets disable {context.name} {token.symbol}, and add it anew",
            )
        elif said.symbol != token.symbol:
            found.warn(
                check,
                f"{token.contract} calls itself {said.symbol}, asset_on_chain calls it {token.symbol}",
                "make sure that it is the right contract",
            )
        else:
            agreeing.append(token.symbol)
    if agreeing:
        found.ok(f"{context.name}.assets", f"{context.name}: tokens agree with their contracts: {', '.join(agreeing)}")


async def _check_gas_wallet(found: Findings, context: ChainContext, provider: Provider) -> None:
    gas = context.gas_address
    if gas is None:
        found.note(f"{context.name}.gas", "the gas wallet is unknown without the mnemonic")
        return
    (balance,) = await provider.balances([BalanceQuery(gas, context.native)])
    if balance.raw is None:
        found.fail(f"{context.name}.gas", f"gas wallet {gas}: {balance.error}", "check the node")
        return
    _check_gas(found, context, gas, balance.raw)


async def _check_treasury(found: Findings, context: ChainContext, provider: Provider) -> None:
    check, treasury = f"{context.name}.treasury", context.treasury_address
    if treasury is None:
        found.note(check, "the treasury is unknown without the mnemonic or a pinned address")
        return
    try:
        provider.codec.validate_address(treasury)
    except InvalidAddress as error:
        found.fail(check, f"treasury: {error}", "correct chains.treasury_address, or pin it (docs/operating.md)")
        return
    shown = context.chain["treasury_address"]
    if shown not in (None, treasury):
        found.warn(
            check,
            f"the database shows treasury {shown}, the executor pays to {treasury}",
            "correct chains.treasury_address, or the pinned address if the database is right",
        )
    assets = [context.native, *context.tokens]
    balances = await provider.balances([BalanceQuery(treasury, asset) for asset in assets])
    held = []
    for asset, balance in zip(assets, balances, strict=True):
        if balance.raw is None:
            found.fail(
                f"{context.name}.assets",
                f"{asset.symbol} {asset.contract}: {balance.error}",
                f"correct asset_on_chain.contract_address, or: flagpost assets disable {context.name} {asset.symbol}",
            )
        else:
            held.append(f"{to_human(balance.raw, asset.decimals)} {asset.symbol}")
    how = "pinned" if context.pinned_treasury is not None else "our index 1"
    found.ok(check, f"treasury {treasury} ({how}) holds {', '.join(held)}")


def _check_gas(found: Findings, context: ChainContext, gas: str, held: int) -> None:
    check = f"{context.name}.gas"
    row = _wallets(context)
    wanted = parse_raw(row["threshold_would_send"])
    least = parse_raw(context.chain["gas_amount"])
    if held == 0:
        found.fail(check, f"gas wallet {gas} is empty", f"send {context.native.symbol} to it; jobs wait until then")
    elif context.chain["gas_policy"] == "threshold" and held < least and row["flagged_gas"]:
        found.fail(
            check,
            f"gas wallet {gas} holds {context.coins(held)}, a top-up is {context.coins(least)}, "
            f"and {row['flagged_gas']} wallets want one",
            f"send {context.native.symbol} to it; jobs wait until then",
        )
    elif context.chain["gas_policy"] == "threshold" and held < wanted:
        found.warn(
            check,
            f"gas wallet {gas} holds {context.coins(held)}, `threshold` wants {context.coins(wanted)} now",
            f"send it {context.coins(wanted - held)} or more; jobs wait until then",
        )
    else:
        found.ok(check, f"gas wallet {gas} holds {context.coins(held)}")
    budget = parse_raw(context.chain["gas_max_per_day"])
    each = context.coins(parse_raw(context.chain["gas_amount"]))
    text = f"`threshold` would now send {each} to {row['below_threshold']} of {row['wallets']} wallets: "
    text += f"{context.coins(wanted)}, fees not counted (policy in force: {context.chain['gas_policy']})"
    if row["never_read"]:
        text += f"; {row['never_read']} wallets were never read"
    if wanted > budget:
        found.warn(
            f"{context.name}.threshold",
            f"{text}; that is more than the {context.coins(budget)} allowed a day",
            f"raise {context.name}.gas_max_per_day, or: flagpost config set {context.name}.gas_policy on_demand",
        )
    else:
        found.note(f"{context.name}.threshold", text)


def _check_wallets(found: Findings, context: ChainContext) -> None:
    check = f"{context.name}.wallets"
    row = _wallets(context)
    newest = "the newest " if row["wallets"] == NEWEST else ""
    text = f"{newest}{row['wallets']} wallets, {row['foreign_wallets']} foreign, "
    text += f"{row['flagged_gas']} need gas, {row['flagged_consolidation']} need consolidation"
    if row["with_error"]:
        found.warn(
            check,
            f"{text}; {row['with_error']} could not be read, as {row['one_with_error']}: {row['one_error']}",
            "correct address or contract; a wallet that failed is read again within an hour",
        )
    elif row["wallets"]:
        found.ok(check, text)
    else:
        found.note(check, f"{context.name} has no wallets; derive some: {_derive(context.name)}")


def _check_derivation(found: Findings, context: ChainContext, branch: PublicBranch) -> None:
    wrong: list[str] = []
    below, left = 2**31, math.inf if context.examination.full else DERIVED
    while left > 0:
        rows = context.examination.rows("own_wallets", chain_id=context.chain["id"], below=below, limit=SLICE)
        wrong += [
            f"{row['address']} (index {row['derivation_index']})"
            for row in rows
            if branch.address(row["derivation_index"]) != row["address"]
        ]
        if len(rows) < SLICE:
            break
        below, left = rows[-1]["derivation_index"], left - len(rows)
    if wrong:
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        found.warn(
            f"{context.name}.derivation",
            f"not derived by our mnemonic at their index: {', '.join(wrong[:SHOWN])}{more}",
            "they never receive gas and are never emptied: correct address or index, or use the mnemonic they are of",
        )


def _wallets(context: ChainContext) -> Row:
    (row,) = context.examination.rows("wallets", chain_id=context.chain["id"])
    return row
