"""How payments are measured: what a node is asked, what flags waited for, what was promised."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from bench import report
from bench.aims import AIMS
from bench.contestants import OURS
from bench.installation import Paid, Used
from bench.measures.payments import CASES, UNITS, Figures, cpu, results, waits
from bench.node_proxy import NodeProxy, methods
from bench.operations import OPERATIONS
from bench.promise import judged
from pipeline.local.audit import Audit
from pipeline.local.demo import ChainOutcome, DemoPlan, Outcome


@asynccontextmanager
async def proxied() -> AsyncIterator[tuple[NodeProxy, str]]:
    """A proxy and its URL, before a node that says what it was asked for."""

    async def echo(request: web.Request) -> web.Response:
        return web.json_response({"path": request.path, "body": await request.text()})

    application = web.Application()
    application.router.add_post("/{path:.*}", echo)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        proxy = NodeProxy(f"http://127.0.0.1:{runner.addresses[0][1]}")
        server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
        async with server:
            yield proxy, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        await runner.cleanup()


async def test_a_node_behind_the_proxy_answers_and_is_counted() -> None:
    async with proxied() as (proxy, url), aiohttp.ClientSession() as session:
        for path in ("wallet/getnowblock", "wallet/getnowblock", "wallet/broadcasthex"):
            async with session.post(f"{url}/{path}", json={"n": 1}) as reply:
                assert await reply.json() == {"path": f"/{path}", "body": '{"n": 1}'}
        batch = [{"method": "eth_getBalance"}, {"method": "eth_call"}, {"method": "eth_call"}]
        async with session.post(url, json=batch) as reply:
            assert reply.status == 200
        report = proxy.report()
        assert report.pop("last_broadcast") is not None
        calls = {"wallet/getnowblock": 2, "wallet/broadcasthex": 1, "eth_getBalance": 1, "eth_call": 2}
        assert report == {"calls": calls, "requests": 4, "refused": 0}
        assert proxy.report() == {"calls": {}, "requests": 0, "refused": 0, "last_broadcast": None}


async def test_what_is_above_the_rate_is_refused_and_counted_apart() -> None:
    async with proxied() as (proxy, url), aiohttp.ClientSession() as session:
        proxy.per_second = 2
        statuses = []
        for _ in range(3):
            async with session.post(f"{url}/wallet/getnowblock") as reply:
                statuses.append(reply.status)
        assert statuses == [200, 200, 429]
        assert (proxy.requests, proxy.refused) == (2, 1)


async def test_an_answer_comes_as_much_later_as_the_node_is_away() -> None:
    async with proxied() as (proxy, url), aiohttp.ClientSession() as session:
        proxy.delay = 0.05
        started = asyncio.get_running_loop().time()
        async with session.post(f"{url}/wallet/getnowblock") as reply:
            assert reply.status == 200
        assert asyncio.get_running_loop().time() - started >= 0.05


def test_methods_of_a_single_call() -> None:
    head = b"POST / HTTP/1.1\r\n\r\n"
    assert methods(head, b'{"method": "eth_chainId"}') == ["eth_chainId"]


def test_waits_from_flag_to_broadcast_by_kind() -> None:
    paid = [Paid("gas", 10.0, 10.1 + number / 1_000, 12.0) for number in range(100)]
    paid += [Paid("consolidation", 10.0, 11.0, 12.0)]
    found = waits(paid)
    assert found["broadcast.p50"] == pytest.approx(150)
    assert found["gas.p99"] == pytest.approx(199)
    assert found["broadcast.p99"] == pytest.approx(199)
    assert found["consolidation.p99"] == pytest.approx(1_000)


def test_time_of_the_processors_is_for_one_payment() -> None:
    assert cpu(Used(1, 2, 3), Used(2, 4, 3.5), 1_000) == {"postgres": 1_000, "payers": 2_000, "node": 500}


def test_each_case_is_a_contestant() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    values = dict.fromkeys(UNITS, 1.0)
    found = results("bsc", {name: Figures(values, {"eth_call": 2}) for name in names}, {})
    assert {one.measure for one in found} == {f"payments.evm.{name}" for name in values}
    assert all(list(one.figures) == names for one in found)
    assert found[0].settings["calls"]["two processes"] == {"eth_call": 2}


def test_the_page_says_what_the_node_is_asked_for_a_payment() -> None:
    values = dict.fromkeys(UNITS, 1.0)
    asked = {
        OURS: Figures(values, {"eth_call": 2.5, "eth_getCode": 0.5}),
        "one at a time": Figures(values, {"eth_call": 3}),
    }
    none: dict[str, Any] = {"left_out": {}, "command": "", "versions": {}, "machine": {}}
    members = [one.as_json(**none) for one in results("bsc", asked, {})]
    assert list(report.calls(members)) == [
        "| evm | **flagpost** | one at a time |\n| --- | ---: | ---: |\n"
        "| `eth_call` | 2.5 | 3 |\n| `eth_getCode` | 0.5 | – |"
    ]


def test_aims_are_about_figures_and_cases_that_exist() -> None:
    bounds = [bound for aim in AIMS for bound in aim.bounds if bound.measure.startswith("payments.")]
    names = {f"payments.{chain}.{name}" for chain in ("tron", "evm") for name in UNITS}
    assert {bound.measure for bound in bounds} <= names
    assert {bound.of for bound in bounds} <= {case.name for case in CASES}
    operations = {f"{group}.{name}" for group in ("size", "held") for name in (*OPERATIONS, "latency.p50")}
    sized = [bound for aim in AIMS for bound in aim.bounds if bound.measure.startswith(("size.", "held."))]
    assert {bound.measure for bound in sized} <= operations


def outcome(**jobs: Any) -> Outcome:
    """100 payments in 36 s: 10,000 an hour."""
    chain = ChainOutcome(
        chain="tron",
        decimals=6,
        wallets=1,
        deposits=60,
        deposited=500,
        gas_topups=40,
        consolidations=60,
        audit=jobs.pop("audit", Audit(500, 0, ())),
        jobs={},
    )
    counted = {"jobs_completed": 5_000, "jobs_failed": 0, "average_seconds": 4.5} | jobs
    return Outcome(DemoPlan(1, 60, 600), (chain,), True, counted, 36.0, 7, ())


@pytest.mark.parametrize(
    ("jobs", "broken"),
    [
        ({}, set()),
        ({"jobs_failed": 5}, set()),
        ({"jobs_failed": 6}, {"failed jobs"}),
        ({"average_seconds": 30.0}, {"average processing"}),
        ({"jobs_completed": 0, "average_seconds": None}, {"average processing"}),
        ({"audit": Audit(500, 1, ("x",))}, {"paid twice"}),
        ({"audit": Audit(501, 0, ())}, {"lost, raw units"}),
        ({"audit": Audit(499, 0, ())}, {"lost, raw units"}),
    ],
)
def test_promises_are_judged_one_by_one(jobs: dict[str, Any], broken: set[str]) -> None:
    assert {one.what for one in judged(outcome(**jobs), 10_000) if not one.held} == broken


def test_a_pace_that_was_not_kept() -> None:
    (rate, *_) = judged(outcome(), 10_001)
    assert (rate.what, rate.measured, rate.held) == ("payments an hour", "10,000", False)
