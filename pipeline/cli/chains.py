"""``flagpost chains``: which chains are worked on. Adding one needs no restart and no code."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

import typer
from psycopg import AsyncConnection
from rich.markup import escape

from pipeline.admin import chains
from pipeline.admin.chains import AddedChain, NewChain, SwitchedChain
from pipeline.admin.errors import InvalidValue
from pipeline.admin.gas_defaults import AMOUNTS
from pipeline.admin.session import database
from pipeline.chains.errors import ChainError
from pipeline.chains.rpc.http import NodeConfig, origin
from pipeline.chains.values import Family
from pipeline.cli.acting import JsonOption, run_action
from pipeline.cli.amounts import option_of, raw_amount
from pipeline.cli.output import CommandError, err, out, print_json, print_table, usage
from pipeline.cli.policy import say_gaps
from pipeline.config.terms import LONGEST_SECONDS
from pipeline.db.statements import statement
from pipeline.payments.terms import GasPolicy
from pipeline.settings import Settings
from pipeline.units import to_human

app = typer.Typer(no_args_is_help=True, help="Chains: add, list, enable, disable. No restart needed.")

NodeOption = Annotated[
    list[str] | None,
    typer.Option("--node", help="Node URL, or a JSON object as in chains.nodes. May be repeated, best one first."),
]
UncheckedOption = Annotated[
    bool, typer.Option("--unchecked", help="Do not ask a node, where none can be reached from this machine.")
]
NameArgument = Annotated[str, typer.Argument(help="Name of the chain: lower case, digits, hyphens.")]
LARGEST_CHAIN_ID = 2**63 - 37
"""By EIP-2294."""
LONGEST_SYMBOL = 32
"""As of tokens."""
_GENESIS = re.compile(r"[0-9a-fA-F]{64}")
COINS = {Family.TRON: ("TRX", 6), Family.EVM: (None, 18)}
ChainIdOption = Annotated[
    int | None, typer.Option(min=1, max=LARGEST_CHAIN_ID, help="EVM: the chain id its nodes must answer.")
]
GenesisOption = Annotated[str | None, typer.Option(help="TRON: the id of its genesis block, 64 hex digits.")]
CoinOption = Annotated[str | None, typer.Option(help="Symbol of the native coin, e.g. BNB; TRX on TRON.")]
GasPolicyOption = Annotated[GasPolicy, typer.Option(help="Gas for every wallet, or where tokens are to be moved.")]
AmountOption = Annotated[str | None, typer.Option(help="What a top-up sends, e.g. '0.001 BNB'.")]
FlagBelowOption = Annotated[str | None, typer.Option(help="needs_gas rises below this balance.")]
ExecuteBelowOption = Annotated[str | None, typer.Option(help="A top-up is sent only below this.")]
ReserveOption = Annotated[str | None, typer.Option(help="A consolidation needs at least this for its fee.")]
TopupMaxOption = Annotated[str | None, typer.Option(help="Limit of one top-up.")]
WalletDayMaxOption = Annotated[str | None, typer.Option(help="Limit per wallet and day.")]
DayMaxOption = Annotated[str | None, typer.Option(help="Limit per day.")]
BlockTimeOption = Annotated[float, typer.Option(min=0.05, max=3600, help="Seconds between its blocks.")]
SyncOption = Annotated[
    float, typer.Option(min=0.1, max=LONGEST_SECONDS, help="Seconds between two readings of a balance.")
]
DisabledOption = Annotated[bool, typer.Option("--disabled", help="Add it switched off.")]


@app.command()
def add(
    name: NameArgument,
    chain_id: ChainIdOption = None,
    genesis: GenesisOption = None,
    coin: CoinOption = None,
    node: NodeOption = None,
    gas_policy: GasPolicyOption = GasPolicy.THRESHOLD,
    gas_amount: AmountOption = None,
    gas_flag_below: FlagBelowOption = None,
    gas_execute_below: ExecuteBelowOption = None,
    fee_reserve: ReserveOption = None,
    gas_max_per_topup: TopupMaxOption = None,
    gas_max_per_wallet_day: WalletDayMaxOption = None,
    gas_max_per_day: DayMaxOption = None,
    block_time: BlockTimeOption = 3.0,
    sync_interval: SyncOption = 300.0,
    disabled: DisabledOption = False,
    unchecked: UncheckedOption = False,
    as_json: JsonOption = False,
) -> None:
    """Add a chain. Its nodes are asked whether they belong to it; running processes take it up at the commit.

    Gas amounts that are not given are sized by what a token transfer costs at this moment. The nodes may stand in
    FLAGPOST_NODES_<NAME> instead, for every process.

    Example: [bold]flagpost chains add polygon --chain-id 137 --coin POL --node https://… --block-time 2[/]
    Example: [bold]flagpost chains add nile --genesis 0000000000000000d698… --node https://…[/]
    """
    bare = _identified(name, chain_id, genesis, coin)
    amounts = _amounts(
        bare,
        gas_amount=gas_amount,
        gas_flag_below=gas_flag_below,
        gas_execute_below=gas_execute_below,
        fee_reserve=fee_reserve,
        gas_max_per_topup=gas_max_per_topup,
        gas_max_per_wallet_day=gas_max_per_wallet_day,
        gas_max_per_day=gas_max_per_day,
    )
    rules = replace(bare, amounts=amounts, gas_policy=gas_policy.value, nodes=_parsed_nodes(node or []))
    new = replace(rules, block_seconds=block_time, sync_seconds=sync_interval, is_active=not disabled)
    _say_added(Settings.load(), new, ask_nodes=not unchecked, as_json=as_json)


def _identified(name: str, chain_id: int | None, genesis: str | None, coin: str | None) -> NewChain:
    """What tells the chain from others, and its coin; all else by default. Raises CommandError."""
    if (chain_id is None) == (genesis is None):
        raise usage("give --chain-id (EVM) or --genesis (TRON)", "it is what tells this chain's nodes from others")
    if genesis is not None and not _GENESIS.fullmatch(genesis):
        raise usage(f"--genesis {genesis[:80]!r}: it is a block id of 64 hex digits")
    family = Family.EVM if genesis is None else Family.TRON
    default_coin, decimals = COINS[family]
    symbol = coin or default_coin
    if symbol is None:
        raise usage("give --coin: the symbol of the native coin, such as BNB")
    if len(symbol) > LONGEST_SYMBOL or not symbol.isprintable():
        raise usage(f"--coin {symbol[:40]!r}: a symbol has {LONGEST_SYMBOL} printable characters at the most")
    return NewChain(name, family, str(chain_id) if genesis is None else genesis.lower(), symbol, decimals)


def _amounts(chain: NewChain, **given: str | None) -> dict[str, int]:
    """Those that are given, raw units by rule. Raises CommandError."""
    return {
        rule: raw_amount(option_of(rule), text, chain.coin, chain.decimals)
        for rule, text in given.items()
        if text is not None
    }


def _say_added(settings: Settings, new: NewChain, *, ask_nodes: bool, as_json: bool) -> None:
    """Add the chain and print what it is. Raises CommandError."""

    async def take(connection: AsyncConnection[Any]) -> AddedChain:
        try:
            return await chains.add(connection, settings, new, ask_nodes=ask_nodes)
        except InvalidValue as error:
            raise CommandError(f"chain {new.name}: {error.message}", error.hint) from None

    added = run_action(settings, "chains add", take)
    _say_warnings(added.warnings)
    report = {
        "chain": new.name,
        "family": new.family.value,
        "network_id": new.network_id,
        "is_active": new.is_active,
        "checked_at_block": added.head,
        **{key: f"{to_human(added.amounts[key], new.decimals)} {new.coin}" for key in AMOUNTS},
    }
    if as_json:
        print_json(report)
        return
    checked = "not checked against a node" if added.head is None else f"its node is at block {added.head}"
    out.print(f"added [bold]{escape(new.name)}[/] ({new.family.value}, {new.network_id}), {checked}")
    for key in AMOUNTS:
        out.print(f"  {key:<24} {report[key]}{'' if key in new.amounts else f' [dim]({added.sized})[/]'}")
    say_gaps(settings, new.name)
    err.print(
        f"next: flagpost assets add {new.name} CONTRACT --help; flagpost wallets derive --chain {new.name} --count 10"
    )


@app.command("list")
def list_chains(as_json: JsonOption = False) -> None:
    """Every chain, with what hangs on it.

    Example: [bold]flagpost chains list[/]
    """
    settings = Settings.load()
    with database(settings, "chains list") as connection:
        rows = connection.execute(statement("chains/list")).fetchall()
    if as_json:
        print_json([{**row, "nodes": _node_names(settings, row)} for row in rows])
        return
    if not rows:
        err.print("there is no chain; add one: flagpost chains add --help")
        return
    print_table(
        ("chain", "", "family", "network", "coin", "tokens", "wallets", "payments out", "gas policy", "nodes"),
        [
            (
                f"[bold]{escape(row['name'])}[/]",
                "[green]on[/]" if row["is_active"] else "[dim]off[/]",
                row["family"],
                row["network_id"] if len(row["network_id"]) <= 20 else f"{row['network_id'][:17]}…",
                escape(row["coin"] or "none"),
                escape(", ".join(row["tokens"])),
                str(row["wallets"]),
                str(row["payments_out"]),
                row["gas_policy"],
                escape(", ".join(_node_names(settings, row))) or "[yellow]none[/]",
            )
            for row in rows
        ],
        right=("wallets", "payments out"),
    )


@app.command()
def enable(
    name: NameArgument, node: NodeOption = None, unchecked: UncheckedOption = False, as_json: JsonOption = False
) -> None:
    """Switch a chain on: its nodes are asked for their network, every active token for its symbol and decimals.

    --node replaces the nodes of its row; FLAGPOST_NODES_<NAME> is used instead of both.

    Example: [bold]flagpost chains enable bsc --node https://…[/]
    """
    settings, nodes = Settings.load(), _parsed_nodes(node or [])
    switched = run_action(
        settings,
        "chains enable",
        lambda connection: chains.enable(connection, settings, name, nodes=nodes, ask_nodes=not unchecked),
    )
    _say_warnings(switched.warnings)
    _say_switched(switched, as_json=as_json)
    say_gaps(settings, name)


@app.command()
def disable(name: NameArgument, as_json: JsonOption = False) -> None:
    """Switch a chain off: nothing new is read, decided or sent on it.

    Payments that are out already are followed to their end by the processes that run.

    Example: [bold]flagpost chains disable bsc[/]
    """
    switched = run_action(Settings.load(), "chains disable", lambda connection: chains.disable(connection, name))
    _say_switched(switched, as_json=as_json)


def _say_warnings(warnings: Sequence[str]) -> None:
    for warning in warnings:
        err.print(f"[yellow]![/] {escape(warning)}")


def _say_switched(chain: SwitchedChain, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "chain": chain.name,
                "is_active": chain.is_active,
                "was_active": chain.was_active,
                "checked": list(chain.checked),
            }
        )
        return
    word = "on" if chain.is_active else "off"
    already = " already" if chain.is_active == chain.was_active else ""
    checked = f"; tokens agree with their contracts: {', '.join(chain.checked)}" if chain.checked else ""
    out.print(f"{escape(chain.name)} is {word}{already}{escape(checked)}")


def _parsed_nodes(values: list[str]) -> list[Any]:
    """URLs as they are, JSON objects as objects. Raises CommandError for what is neither."""
    parsed: list[Any] = []
    for value in values:
        try:
            one = json.loads(value) if value.lstrip().startswith("{") else value
            NodeConfig.parse(one)
        except ValueError as error:
            raise usage(f"--node: {error}", 'like https://host/path or \'{"url": …, "ws_url": …}\'') from None
        parsed.append(one)
    return parsed


def _node_names(settings: Settings, row: Mapping[str, Any]) -> list[str]:
    """Without path and query, where API keys stand."""
    chosen = settings.nodes.get(row["name"]) or row["nodes"]
    names = []
    for one in chosen:
        try:
            names.append(origin(NodeConfig.parse(one).url))
        except (ValueError, ChainError):
            names.append("unreadable")
    return names
