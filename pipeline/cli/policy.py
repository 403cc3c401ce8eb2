"""``flagpost policy``: what this host may sign, and what the database asks for beyond that."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.markup import escape

from pipeline.admin.policy import gaps, own_policy, proposed
from pipeline.admin.session import database
from pipeline.cli.acting import JsonOption
from pipeline.cli.output import CommandError, err, out, print_json, print_table
from pipeline.db.statements import statement
from pipeline.settings import Settings, SettingsError
from pipeline.signing.errors import LedgerUnavailable
from pipeline.signing.ledger import SpendingLedger
from pipeline.signing.policy import ContractPolicy, NetworkPolicy, to_toml
from pipeline.signing.rules import GAS_WALLET, WALLETS, ceiling_of

app = typer.Typer(
    no_args_is_help=True, help="Signing policy of this host: show, draft a section. No row of the database changes it."
)


@app.command()
def show(as_json: JsonOption = False) -> None:
    """The policy in force on this host: networks, treasuries, contracts, ceilings, and what is spent of them.

    It comes from the file that FLAGPOST_POLICY_FILE names (else policy.toml under FLAGPOST_HOME), from
    FLAGPOST_TREASURY_<NETWORK>, and for TRON, BSC and Ethereum from what is shipped.

    Example: [bold]flagpost policy show[/]
    """
    settings = Settings.load()
    policy, ledger = own_policy(settings), SpendingLedger(settings.spending_ledger)
    reports = [_report(one, ledger) for one in policy.networks.values()]
    if as_json:
        print_json({"file": _file(settings), "hosts": policy.hosts, "networks": reports})
        return
    out.print(f"policy file: {escape(_file(settings) or 'none')}; hosts that split a day's ceilings: {policy.hosts}")
    print_table(
        ("network", "", "treasury", "fee_max", "day_max", "gas wallet today", "wallets today", "contracts"),
        [
            (
                f"[bold]{escape(one['name'])}[/]",
                escape(one["network"]),
                escape(one["treasury"] or "our index 1"),
                one["fee_max"],
                one["day_max"],
                one["spent"][GAS_WALLET],
                one["spent"][WALLETS],
                escape(", ".join(contract["symbol"] for contract in one["contracts"]) or "none"),
            )
            for one in reports
        ],
        right=("fee_max", "day_max", "gas wallet today", "wallets today"),
    )


@app.command()
def draft(
    chain: Annotated[str | None, typer.Argument(help="Only this chain.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="What the policy has already, too.")] = False,
) -> None:
    """Sections for the policy file, out of the rows of chains and assets that the policy does not have.

    They are a proposal of the database, which is exactly what the policy is not to believe: compare each contract and
    treasury with a source of your own before you copy it.

    Example: [bold]flagpost policy draft polygon >> policy.toml[/]
    """
    settings = Settings.load()
    policy = own_policy(settings)
    with database(settings, "policy draft") as connection:
        rows = connection.execute(statement("policy/chains"), {"chain": chain}).fetchall()
    if chain is not None and not rows:
        raise CommandError(f"no chain is called {chain!r}", "see: flagpost chains list")
    sections = [
        proposed(row, policy)
        for row in rows
        if everything or chain is not None or (row["is_active"] and gaps(policy, row))
    ]
    if not sections:
        err.print("the policy has every active chain and token: nothing to add")
        return
    typer.echo("# Proposed from the database: compare each contract with a source of your own.\n")
    typer.echo(to_toml(sections))


def say_gaps(settings: Settings, chain: str) -> None:
    """After a change of a chain or an asset, on stderr: what has to be done before anything of it is signed."""
    todo = f"flagpost policy draft {chain}"
    try:
        settings.mnemonic()
    except SettingsError:
        err.print(f"[yellow]![/] where the keys are, the signing policy has to have it, too: {escape(todo)}")
        return
    with database(settings, "policy") as connection:
        rows = connection.execute(statement("policy/chains"), {"chain": chain}).fetchall()
    policy = own_policy(settings)
    for missing in [missing for row in rows for missing in gaps(policy, row)]:
        err.print(f"[yellow]![/] {escape(missing)}: nothing of it is signed")
        err.print(f"  [dim]→[/] {escape(todo)}")


def _report(one: NetworkPolicy, ledger: SpendingLedger) -> dict[str, Any]:
    return {
        "name": one.name,
        "network": str(one.network),
        "family": one.network.family.value,
        "id": one.network.id,
        "source": one.source,
        "treasury": one.treasury,
        "fee_max": one.human(one.fee_max),
        "day_max": one.human(one.day_max),
        "spent": {whose: _spent(one, ledger, whose) for whose in (GAS_WALLET, WALLETS)},
        "contracts": [_contract(contract) for contract in one.contracts.values()],
    }


def _contract(contract: ContractPolicy) -> Mapping[str, Any]:
    return {"symbol": contract.symbol, "address": contract.address, "gas_max": contract.gas_max}


def _spent(one: NetworkPolicy, ledger: SpendingLedger, whose: str) -> str:
    try:
        return one.human(ledger.spent(ceiling_of(one, whose).of))
    except (LedgerUnavailable, OSError) as error:
        raise CommandError(str(error), "make the file readable and writable for who signs and for who asks") from None


def _file(settings: Settings) -> str | None:
    return None if settings.signing_policy is None else str(settings.signing_policy)
