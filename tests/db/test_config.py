"""Runtime configuration in the database: what is in force, what is refused, and why."""

import pytest
from psycopg.types.json import Jsonb

from pipeline.config import ConfigError, RuntimeConfig
from pipeline.config.runtime import QueueConfig
from pipeline.config.terms import CONTRADICTIONS
from pipeline.db.pool import Connection
from tests.db.worker_kit import configure, rows
from tests.seed import TRX, USDT, Chain


async def value_of(connection: Connection, key: str) -> object:
    return next(entry.value for entry in await RuntimeConfig.describe(connection) if entry.key == key)


async def test_an_empty_database_has_the_defaults(connection: Connection) -> None:
    assert await RuntimeConfig.load(connection) == RuntimeConfig()


async def test_keys_and_whole_sections(connection: Connection) -> None:
    await configure(
        connection, paused=True, sweep={"interval_seconds": 60, "batch": 7}, sweep__batch=9, queue__max_retries=5
    )
    config = await RuntimeConfig.load(connection)
    assert config.paused
    assert (config.sweep.interval_seconds, config.sweep.batch, config.sweep.grace_seconds) == (60, 9, 2)
    assert config.queue == QueueConfig(max_retries=5)
    assert config.problems == ()


async def test_a_bad_row_is_named_and_the_last_good_value_stays(connection: Connection) -> None:
    await configure(connection, sweep__batch=50, sync__batch=80, queue__concurrency=4)
    good = await RuntimeConfig.load(connection)
    await configure(connection, sweep__batch=-1, sync={"batch": 99, "bach": 1}, queue__concurrency=5, swep__batch=1)
    config = await RuntimeConfig.load(connection, good)
    assert config.sweep.batch == 50
    assert config.sync.batch == 80
    assert config.queue.concurrency == 5, "the good rows count"
    text = "\n".join(config.problems)
    assert "system_config sweep.batch" in text
    assert "system_config swep.batch: there is no setting 'swep.batch'; did you mean sweep.batch" in text
    assert "sync.bach" in text
    assert len(config.problems) == 3
    assert (await RuntimeConfig.load(connection)).sweep.batch == 20, "without a last good value the default"


async def test_set_and_describe(connection: Connection, tron: Chain) -> None:
    await RuntimeConfig.set(connection, "sweep.interval_seconds", 60)
    await RuntimeConfig.set(connection, "paused", True)
    entries = {entry.key: entry for entry in await RuntimeConfig.describe(connection)}
    assert (entries["sweep.interval_seconds"].default, entries["sweep.interval_seconds"].value) == (300, 60)
    assert entries["paused"].value is True
    assert all(entry.description for entry in entries.values())
    assert entries["tron.gas_flag_below"].value == "5 TRX"
    assert entries["tron.USDT.consolidate_flag_above"].value == "200 USDT"
    assert entries["tron.gas_cooldown"].value == 600
    (row,) = await rows(connection, "SELECT description FROM system_config WHERE key = 'paused'")
    assert row["description"] == entries["paused"].description


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("swep.interval_seconds", 60, "did you mean sweep.interval_seconds"),
        ("interval_seconds", 60, "did you mean"),
        ("zzz", 1, "see: flagpost config show"),
        ("sweep.batch", 0, "sweep.batch cannot be 0: Input should be greater than or equal to 1"),
        ("sweep.batch", 1.5, "sweep.batch cannot be 1.5"),
        ("sweep.batch", "lots", "sweep.batch cannot be 'lots'"),
        ("sweep.batch", True, "sweep.batch takes a number, not True"),
        ("paused", "maybe", "paused takes true or false, not 'maybe'"),
        ("heartbeat_seconds", 600, "less than or equal to 60"),
        ("tron.gas_flag_belw", "5 TRX", "did you mean tron.gas_flag_below"),
        ("tron.USDT.consolidate_flag_above", "5 TRX", "an amount of USDT, not of TRX"),
        ("tron.gas_flag_below", -1, "negative"),
        ("tron.gas_flag_below", 1.5, "raw amount 1.5 is fractional: raw units (sun, wei) are whole; write it like"),
        ("tron.gas_flag_below", "1.0000001 TRX", "7 decimals"),
        ("tron.gas_flag_below", None, "needs a value"),
        ("tron.gas_policy", "always", "takes threshold or on_demand, not 'always'"),
        ("tron.is_active", "yes", "takes true or false"),
        ("tron.gas_cooldown", "soon", "takes seconds, or a duration such as 10m"),
    ],
)
async def test_what_is_refused(connection: Connection, tron: Chain, key: str, value: object, message: str) -> None:
    before = await RuntimeConfig.describe(connection)
    with pytest.raises(ConfigError) as refused:
        await RuntimeConfig.set(connection, key, value)
    assert message in str(refused.value)
    assert await RuntimeConfig.describe(connection) == before


async def test_terms_in_human_and_raw_units(connection: Connection, tron: Chain) -> None:
    await RuntimeConfig.set(connection, "tron.gas_flag_below", "7.5 TRX")
    await RuntimeConfig.set(connection, "tron.gas_execute_below", 2_000_000)
    await RuntimeConfig.set(connection, "tron.USDT.consolidate_flag_above", "1_000 usdt")
    await RuntimeConfig.set(connection, "tron.gas_policy", "on_demand")
    await RuntimeConfig.set(connection, "tron.gas_cooldown", "15m")
    await RuntimeConfig.set(connection, "tron.gas_max_total", "100000 TRX")
    (chain,) = await rows(connection, "SELECT * FROM chains")
    assert chain["gas_flag_below"] == 7.5 * TRX
    assert chain["gas_execute_below"] == 2 * TRX
    assert chain["gas_policy"] == "on_demand"
    assert chain["gas_cooldown"].total_seconds() == 900
    (asset,) = await rows(connection, "SELECT * FROM asset_on_chain WHERE symbol = 'USDT'")
    assert asset["consolidate_flag_above"] == 1000 * USDT
    await RuntimeConfig.set(connection, "tron.gas_max_total", None)
    assert await value_of(connection, "tron.gas_max_total") is None


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("tron.gas_flag_below", "0.5 TRX", "gas_is_executed_only_where_it_is_flagged"),
        ("tron.fee_reserve", "6 TRX", "a_topup_covers_the_fee_reserve"),
        ("tron.gas_amount", "60 TRX", "a_topup_fits_its_own_limit"),
        ("tron.gas_max_per_day", "1 TRX", "gas_limits_grow"),
        ("tron.USDT.consolidate_execute_min", "300 USDT", "consolidation_is_executed_where_it_is_flagged"),
    ],
)
async def test_contradictions_are_a_sentence(
    connection: Connection, tron: Chain, key: str, value: str, rule: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        await RuntimeConfig.set(connection, key, value)
    assert str(refused.value) == f"{key} cannot be {value}: {CONTRADICTIONS[rule]}"


async def test_every_rule_between_terms_has_its_sentence(connection: Connection) -> None:
    found = await rows(
        connection,
        """
        SELECT conname FROM pg_constraint
        WHERE conrelid IN ('chains'::regclass, 'asset_on_chain'::regclass) AND contype = 'c'
          AND conname !~ '_check[0-9]*$'
        """,
    )
    assert {row["conname"] for row in found} == set(CONTRADICTIONS)


async def test_a_change_is_notified(connection: Connection, tron: Chain) -> None:
    await connection.execute("LISTEN config")
    await RuntimeConfig.set(connection, "sweep.batch", 30)
    await RuntimeConfig.set(connection, "sweep.batch", 30)
    await RuntimeConfig.set(connection, "tron.gas_policy", "on_demand")
    payloads = [notify.payload async for notify in connection.notifies(timeout=1, stop_after=2)]
    assert len(payloads) == 2
    assert "sweep.batch" in payloads[0]
    assert '"chains"' in payloads[1]


async def test_json_null_is_no_value(connection: Connection) -> None:
    await connection.execute("INSERT INTO system_config (key, value) VALUES ('sweep.batch', %s)", [Jsonb(None)])
    config = await RuntimeConfig.load(connection)
    assert config.sweep.batch == 20
    assert len(config.problems) == 1
