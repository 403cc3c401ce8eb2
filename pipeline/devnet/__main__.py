"""``python -m pipeline.devnet``: a devnet as a process; prints its URL when ready."""

import argparse
import asyncio
import ctypes
import os
import signal
import sys
from pathlib import Path

from pipeline.devnet.journal import JournalUnusable
from pipeline.devnet.network import Devnet, DevnetOptions
from pipeline.devnet.params import Params
from pipeline.devnet.server import serve

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask the kernel for SIGKILL when the parent dies; the journal is made for that."""
    if not sys.platform.startswith("linux"):
        raise SystemExit("--die-with-parent needs Linux (prctl)")
    parent = os.getppid()
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise SystemExit(f"prctl failed: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:
        raise SystemExit("the parent is gone already")


def _ready(network: Devnet) -> None:
    sys.stdout.write(f"{network.main.url}\n")
    sys.stdout.flush()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m pipeline.devnet", description="A simulated TRON network")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--home", type=Path, help="keep the chain here; without it in memory")
    parser.add_argument("--block-time", type=float, default=3.0, help="seconds; 0: blocks only on demand")
    parser.add_argument("--instant", action="store_true", help="a block for every accepted transaction")
    parser.add_argument("--solid-lag", type=int, default=19, help="blocks until a block is solid")
    parser.add_argument("--network", default="flagpost", help="name; decides the genesis id")
    parser.add_argument("--extra-nodes", type=int, default=0, help="further nodes on free ports")
    parser.add_argument("--energy-factor", type=int, default=0, help="dynamic energy penalty in 1/10,000")
    parser.add_argument("--die-with-parent", action="store_true")
    return parser.parse_args()


def main() -> None:
    arguments = _arguments()
    if arguments.die_with_parent:
        die_with_parent()
    options = DevnetOptions(
        host=arguments.host,
        port=arguments.port,
        home=arguments.home,
        block_time=arguments.block_time,
        instant=arguments.instant,
        solid_lag=arguments.solid_lag,
        network=arguments.network,
        params=Params(energy_factor=arguments.energy_factor),
        extra_nodes=arguments.extra_nodes,
    )
    try:
        asyncio.run(serve(options, _ready))
    except (OSError, ValueError, JournalUnusable) as error:
        raise SystemExit(f"devnet: {error}") from error


if __name__ == "__main__":
    main()
