"""End-to-end tests run the real command, with real processes and a real server, against the simulated network."""

import os
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from pipeline.local.procfile import child_environment
from pipeline.local.seed import Seed
from pipeline.local.stand import Stand, open_stand
from pipeline.local.tron import TRX
from tests.conftest import temporary_home
from tests.e2e.running import Running

BLOCK_TIME = 0.5
"""Seconds. Half of the demo's, for the tests' sake; nothing but the waiting changes."""


def terms(**changes) -> Seed:
    """A small set-up on demand, so that wallets nobody touches stay quiet."""
    values = {
        "wallets": 6,
        "gas_policy": "on_demand",
        "sync_interval": timedelta(seconds=1),
        "block_time": timedelta(seconds=BLOCK_TIME),
        "gas_cooldown": timedelta(seconds=1),
        "gas_funds": {"tron": 1_000 * TRX},
        "config": {"sweep.interval_seconds": 30},
    }
    return Seed(**values | changes)


@pytest.fixture
def clean_env(home: Path) -> dict[str, str]:
    """The environment of a person who has just cloned the project, with this home."""
    return new_environment(home)


def new_environment(home: Path) -> dict[str, str]:
    """The same for a home of whatever scope."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("FLAGPOST_")}
    env.pop("DATABASE_URL", None)
    return env | {"FLAGPOST_HOME": str(home), "FLAGPOST_ENV_FILE": os.devnull, "PYTHONUNBUFFERED": "1"}


@pytest.fixture(scope="module")
def module_home() -> Iterator[Path]:
    """A home that the tests of a module share."""
    with temporary_home() as path:
        yield path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stand(module_home: Path, server_dsn: str) -> AsyncIterator[Stand]:
    """Database, network and wallets without workers, shared by the tests of a module."""
    async with open_stand(module_home, terms(), server=server_dsn, block_time=BLOCK_TIME, solid_lag=1) as opened:
        yield opened


@pytest.fixture
def other_network(home: Path, clean_env: dict[str, str]) -> Iterator[str]:
    """The URL of a node that belongs to another network."""
    with Running(["devnet", "--network", "elsewhere"], clean_env) as devnet:
        yield devnet.line(r"network at (\S+):")[1]


def environment(stand: Stand, **changes: str) -> dict[str, str]:
    """The environment of a process that works on this stand."""
    return child_environment(stand.home.path, stand.dsn, **changes)


def pytest_collection_modifyitems(items) -> None:
    if sys.platform != "linux":
        for item in items:
            if "e2e" in item.path.parts:
                item.add_marker(pytest.mark.skip(reason="looks for left-over processes in /proc"))
