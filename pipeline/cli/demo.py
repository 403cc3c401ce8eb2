"""``flagpost demo``: the pipeline unattended, and its result as the chain has it."""

import asyncio
import contextlib
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from pipeline.cli.output import BAD, OK, CommandError, err, out, print_json
from pipeline.cli.up import chosen_chains
from pipeline.embedded.cluster import socket_directory
from pipeline.local import demo as local_demo
from pipeline.local.network import money
from pipeline.payments.terms import GasPolicy
from pipeline.settings import Settings

LossyOption = Annotated[
    bool, typer.Option("--lossy-notify", help="Drop every NOTIFY, so that only the sweep finds work.")
]
FaultsOption = Annotated[
    bool,
    typer.Option("--faults", help="Inject faults into the nodes: lost, late and false answers, bans; drawn by --seed."),
]
KillOption = Annotated[
    float | None,
    typer.Option(min=1, help="Seconds between two SIGKILLs, each of one worker, which is started again."),
]
GasPolicyOption = Annotated[GasPolicy, typer.Option(help="Gas for all wallets, or on demand only.")]


def demo(
    wallets: Annotated[int, typer.Option(min=1, help="Customers' wallets on each chain.")] = 20,
    deposits: Annotated[int, typer.Option(min=0, help="Deposits of 201 to 2,000 USDT, on each chain.")] = 40,
    chains: Annotated[str, typer.Option(help="Chains to run: tron, bsc or tron,bsc.")] = "tron",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
    timeout: Annotated[float, typer.Option(min=1, help="Give up after so many seconds.")] = 600,
    lossy_notify: LossyOption = False,
    faults: FaultsOption = False,
    kill_every: KillOption = None,
    gas_policy: GasPolicyOption = GasPolicy.THRESHOLD,
    instances: Annotated[int, typer.Option(min=1, max=16, help="Instances of each process.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the deposits and of the faults.")] = 1,
    block_time: Annotated[float, typer.Option(min=0.1, help="Seconds between blocks of the simulated network.")] = 1.0,
    solid_lag: Annotated[int, typer.Option(min=1, help="Blocks until a block is final.")] = 2,
    spread: Annotated[float | None, typer.Option(min=0, help="Seconds over which the deposits arrive.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the home with its logs, and print where it is.")] = False,
) -> None:
    """Run all processes unattended while customers deposit, then check on the chains what the treasuries received.

    It uses a temporary home, an embedded database (or a new one on the server of DATABASE_URL), a simulated TRON
    network, and anvil, a real EVM node, as BSC. Exit code 0 only when every treasury received exactly what was due.
    With several chains the totals are in raw units with `decimals`.

    Example: [bold]flagpost demo --wallets 200 --deposits 200 --json[/]
    Example: [bold]flagpost demo --chains tron,bsc --wallets 100 --deposits 100 --faults[/]
    """
    plan = local_demo.DemoPlan(
        wallets=wallets,
        deposits=deposits,
        timeout=timeout,
        chains=tuple(chosen_chains(chains)) or ("tron",),
        lossy_notify=lossy_notify,
        faulty=faults,
        gas_policy=gas_policy.value,
        seed=seed,
        instances=instances,
        block_time=block_time,
        solid_lag=solid_lag,
        spread=spread,
        kill_every=kill_every,
    )
    settings = Settings.load()
    # The direct address where there is one: a pooler knows nothing of a database made a moment ago.
    server = settings.listen_url or settings.database_url
    with _temporary_home(keep) as home, _progress() as tell:
        outcome = asyncio.run(_interruptible(plan, home, server, tell))
    _say(outcome, as_json=as_json)
    if not outcome.right:
        raise typer.Exit(1)


async def _interruptible(
    plan: local_demo.DemoPlan, home: Path, server: str | None, tell: Callable[[local_demo.DemoProgress], None]
) -> local_demo.Outcome:
    """Ctrl-C and SIGTERM end it like an error does: everything is stopped in order first."""
    task = asyncio.create_task(local_demo.play(plan, home, server, tell))
    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        raise CommandError("interrupted; everything was stopped", code=130) from None


@contextlib.contextmanager
def _temporary_home(keep: bool) -> Iterator[Path]:
    # Readable for the account the embedded server runs under when we are root; the mnemonic in it is not.
    home = Path(tempfile.mkdtemp(prefix="flagpost-demo-"))
    home.chmod(0o755)
    try:
        yield home
    finally:
        if keep:
            err.print(f"kept {home} (logs in {home / 'logs'})")
        else:
            shutil.rmtree(socket_directory(home), ignore_errors=True)
            shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[local_demo.DemoProgress], None]]:
    """A bar on stderr where that is a terminal, nothing otherwise."""
    if not sys.stderr.isatty():
        yield lambda progress: None
        return
    columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("starting database and network", total=None)

        def tell(progress: local_demo.DemoProgress) -> None:
            text = f"treasury {money(progress.received, progress.decimals)} · {progress.what}"
            bar.update(task, description=text, total=progress.due or None, completed=progress.received)

        yield tell


def _say(outcome: local_demo.Outcome, *, as_json: bool) -> None:
    for fault in outcome.faults:
        err.print(f"{BAD} {escape(fault)}")
    if not outcome.right:
        for failure in outcome.failures:
            err.print(f"{BAD} {escape(failure)}")
    if not outcome.settled:
        err.print(f"{BAD} not everything had settled when --timeout ended the run; try a longer one")
    if as_json:
        print_json(outcome.as_json())
    else:
        _summary(outcome)


def _summary(outcome: local_demo.Outcome) -> None:
    report = outcome.as_json()
    for chain in outcome.chains:
        received, due = (money(raw, chain.decimals) for raw in (chain.audit.treasury_received, chain.deposited))
        out.print(
            f"{OK if chain.right else BAD} {chain.chain}: treasury received {received} of {due} (read from the chain)"
        )
    out.print(
        f"{BAD if report['double_payments'] else OK} {report['double_payments']} double payments, "
        f"{report['gas_topups']} gas top-ups, {report['consolidations']} consolidations"
    )
    swept = f"{report['missed_events_swept']} found by the sweep only, after a lost NOTIFY"
    out.print(f"{BAD if report['jobs_failed'] else OK} {report['jobs_failed']} jobs failed, {swept}")
    if outcome.plan.faulty:
        out.print(f"  {outcome.node_faults} calls of workers met an injected fault")
    latency = report["latency_ms"]["flag_to_start"]
    out.print(f"  from a flag to the start of its job: p50 {latency['p50']} ms, p99 {latency['p99']} ms")
    out.print(f"  {report['seconds']} s in all")
