"""The processes of the Procfile: one command each, so that every line runs alone and any number of them together."""

from collections.abc import Callable, Mapping
from typing import Annotated

import typer

from pipeline.embedded.cluster import with_database
from pipeline.settings import Settings, SettingsError
from pipeline.workers.runtime import Worker
from pipeline.workers.serve import serve

ChainOption = Annotated[
    list[str] | None, typer.Option("--chain", help="Only this chain (may be repeated); default: every active one.")
]


def sync(chain: ChainOption = None) -> None:
    """Read due balances from the chain and write them to the database, whose triggers raise the flags.

    Needs no mnemonic and may write nothing but balances. Several instances share the work.

    Example: [bold]flagpost sync --chain tron[/]
    """
    from pipeline.catalog.chains import chain_opener
    from pipeline.workers.sync import Sync

    settings = with_database(Settings.load())
    _serve(settings, Sync(chain_opener(settings), chain_names=chain))


def gas_topup(chain: ChainOption = None) -> None:
    """Send gas to wallets whose needs_gas flag is up.

    Signs with the mnemonic: set FLAGPOST_MNEMONIC_FILE. Only wallets that the mnemonic derives receive gas.

    Example: [bold]flagpost gas-topup --chain tron[/]
    """
    from pipeline.workers import gas_topup

    settings = with_database(Settings.load())
    _serve(settings, _signing(lambda: gas_topup.create(settings, chains=chain)))


def consolidation(chain: ChainOption = None) -> None:
    """Move the tokens of flagged wallets to the treasury.

    Signs with the mnemonic: set FLAGPOST_MNEMONIC_FILE. Pays to our own index 1 only, or to the address pinned by
    FLAGPOST_TREASURY_<CHAIN>.

    Example: [bold]FLAGPOST_TREASURY_TRON=T… flagpost consolidation[/]
    """
    from pipeline.workers import consolidation

    settings = with_database(Settings.load())
    _serve(settings, _signing(lambda: consolidation.create(settings, chains=chain)))


def confirmations(chain: ChainOption = None) -> None:
    """Follow payments until they are final, then settle their jobs.

    Needs no mnemonic: it sends again only bytes that were signed before. One instance acts, others stand by.

    Example: [bold]flagpost confirmations[/]
    """
    from pipeline.workers import confirmations

    settings = with_database(Settings.load())
    _serve(settings, confirmations.create(settings, chains=chain))


def sweep() -> None:
    """On a timer: enqueue flags whose event was lost, rescue jobs of dead workers, write a queue summary.

    One instance acts, others stand by.

    Example: [bold]flagpost config set sweep.interval_seconds 60 && flagpost sweep[/]
    """
    from pipeline.workers.sweep import Sweep

    _serve(with_database(Settings.load()), Sweep())


ON_CHAINS: Mapping[str, Callable[[list[str] | None], None]] = {
    "sync": sync,
    "gas-topup": gas_topup,
    "consolidation": consolidation,
    "confirmations": confirmations,
}
"""Types of worker that serve the chains they are given."""
ON_ALL_CHAINS: Mapping[str, Callable[[], None]] = {"sweep": sweep}


def worker() -> None:
    """Run the process that WORKER_TYPE names, on the chains that BLOCKCHAIN names: for containers, where one image
    runs every type and no shell stands between the engine's signals and the process.

    BLOCKCHAIN takes names with commas between them; without it, every active chain is served.

    Example: [bold]WORKER_TYPE=gas-topup flagpost worker[/]
    """
    settings = Settings.load()
    types = ", ".join((*ON_CHAINS, *ON_ALL_CHAINS))
    if settings.worker_type is None:
        raise SettingsError(f"WORKER_TYPE is not set: expected one of {types}")
    if on_chains := ON_CHAINS.get(settings.worker_type):
        on_chains(settings.blockchains)
    elif (on_all_chains := ON_ALL_CHAINS.get(settings.worker_type)) is None:
        raise SettingsError(f"WORKER_TYPE: there is no type {settings.worker_type!r}; expected one of {types}")
    elif settings.blockchains is not None:
        raise SettingsError(f"BLOCKCHAIN: {settings.worker_type} serves every chain; leave it empty")
    else:
        on_all_chains()


def _signing(create: Callable[[], Worker]) -> Worker:
    from pipeline.admin.addresses import bad_mnemonic  # keys are loaded by who signs alone
    from pipeline.keys.mnemonic import InvalidMnemonic

    try:
        return create()
    except InvalidMnemonic as error:
        raise bad_mnemonic(error) from None


def _serve(settings: Settings, worker: Worker) -> None:
    code = serve(settings, worker)
    if code:
        raise typer.Exit(code)
