"""Where the workers' code is joined to the simulation: names in our modules that stand for the world outside."""

import contextlib
import random
from collections.abc import Callable, Iterator
from functools import cache
from types import SimpleNamespace
from typing import Any
from unittest import mock
from uuid import UUID

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pipeline.chains.evm import provider as evm_provider
from pipeline.chains.rpc import http, nodes
from pipeline.chains.rpc.http import Clock as NodeClock
from pipeline.chains.tron import provider as tron_provider
from pipeline.db.dsn import database_dsn
from pipeline.db.session import session_dsn
from pipeline.payments.discipline import numbered
from pipeline.payments.send import consolidations as consolidation
from pipeline.payments.send import gas_topups as gas
from pipeline.payments.send import refusals
from pipeline.payments.send.claimed import Order
from pipeline.settings import Settings
from pipeline.signing import ledger
from pipeline.workers import chains, registry, runtime, sweep, sync
from tests.simulation.clock import WallClock
from tests.simulation.connection import Connection, Pool
from tests.simulation.database import SEARCH_PATH
from tests.simulation.node import SimulatedWire
from tests.simulation.process import Doorbell, Process, whole_garbage
from tests.simulation.simulation import Simulation

_APPLICATION = "simulated"


class Joints:
    """The simulation that runs now."""

    simulation: Simulation

    @property
    def process(self) -> Process:
        process = self.simulation.current
        assert process is not None
        return process

    def create_pool(self, settings: Settings, name: str, **options: Any) -> Pool:
        dsn = _session_dsn(database_dsn(settings), options.get("role"), options.get("index_plans", False))
        return Pool(self.simulation.database, self.process, dsn, options["max_size"], self.process.connections)

    def listener(self, *args: Any, **options: Any) -> Doorbell:
        made = Doorbell(*args, **options)
        process = made.process = self.process
        made.connect = lambda dsn: self._connected(process, dsn)
        return made

    async def connect(self, dsn: str, **options: Any) -> Connection:
        """``AsyncConnection.connect``."""
        process = self.process
        await process.pause()
        return self._connected(process, dsn, **options)

    def _connected(self, process: Process, dsn: str, **options: Any) -> Connection:
        connection = Connection.take(self.simulation.database, process, _anonymous(dsn))
        connection.prepare_threshold = options.get("prepare_threshold", 5)
        process.connections.append(connection)
        return connection

    def monotonic(self) -> float:
        return self.simulation.clock.now

    def wall(self) -> float:
        return self.simulation.clock.wall().timestamp()

    def order(self, *args: Any, **fields: Any) -> Order:
        return Order(*args, **{"priced_at": self.monotonic(), **fields})

    def uuid4(self) -> UUID:
        return UUID(int=random.getrandbits(128), version=4)


@cache
def _anonymous(dsn: str) -> str:
    """One name for all, so that a session can be used again by any process of the same rights."""
    options = f"{conninfo_to_dict(dsn).get('options', '')} -c search_path={SEARCH_PATH}"
    return make_conninfo(dsn, application_name=_APPLICATION, options=options)


@cache
def _session_dsn(dsn: str, role: str | None, index_plans: bool) -> str:
    """Whoever looks into pg_catalog first would find the server's time there, and not the run's."""
    return _anonymous(session_dsn(dsn, _APPLICATION, role, index_plans=index_plans))


async def _is_settled(*_: Any, **__: Any) -> None:
    """A simulated session is as its start-up message says."""


async def at_once(work: Callable[[], Any]) -> Any:
    """What waits for a disk: threads take no turns of the scheduler."""
    return work()


JOINTS = Joints()


def join(simulation: Simulation) -> None:
    """From now on the workers' code lives in this one."""
    JOINTS.simulation = simulation
    WallClock.clock = simulation.clock
    SimulatedWire.wire = simulation


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Inside, workers that are made are simulated ones."""
    connecting = SimpleNamespace(connect=JOINTS.connect)
    clock = NodeClock(JOINTS.monotonic, wall=JOINTS.wall)
    replaced: list[tuple[Any, str, Any]] = [
        (runtime, "create_pool", JOINTS.create_pool),
        (runtime, "Listener", JOINTS.listener),
        (runtime, "AsyncConnection", connecting),
        (runtime, "settle", _is_settled),
        (registry, "uuid4", JOINTS.uuid4),
        (tron_provider, "secrets", SimpleNamespace(randbelow=random.randrange)),
        (sweep, "datetime", WallClock),
        (ledger, "in_thread", at_once),
        (refusals, "datetime", WallClock),
        (gas, "datetime", WallClock),
        *((module, "time", SimpleNamespace(monotonic=JOINTS.monotonic)) for module in (numbered, sync, chains)),
        (gas, "Order", JOINTS.order),
        (consolidation, "Order", JOINTS.order),
        (http, "HttpWire", SimulatedWire),
        *((module, "Clock", lambda: clock) for module in (http, nodes, evm_provider, tron_provider)),
    ]
    with contextlib.ExitStack() as stack:
        for module, name, stand_in in replaced:
            stack.enter_context(mock.patch.object(module, name, stand_in))
        with whole_garbage():
            yield
