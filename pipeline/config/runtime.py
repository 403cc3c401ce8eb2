"""The keys of system_config, typed, with their defaults.

Each key is one row, such as ``sweep.interval_seconds`` → ``300``. A row that names a whole section (``sweep`` →
``{"interval_seconds": 300}``) is understood too; the row of a single key wins over it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from loguru import logger
from psycopg.types.json import Jsonb
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from pipeline.config.errors import ConfigError, unknown_key
from pipeline.config.terms import describe_terms, is_term, set_term
from pipeline.db.pool import Connection
from pipeline.db.rows import execute, fetch

Seconds = Annotated[float, Field(gt=0, le=7 * 86_400)]


LEAST_MEMORY_LIMIT_MB = 200
"""Below that, a process would be above its limit as soon as it begins."""


def _off_or_enough(megabytes: int) -> int:
    if 0 < megabytes < LEAST_MEMORY_LIMIT_MB:
        raise ValueError(f"expected 0, which is no limit, or at least {LEAST_MEMORY_LIMIT_MB}")
    return megabytes


class _Section(BaseModel):
    # Not strict: an operator's "5" for a number is understood. A bool is never taken for one, see _checked.
    model_config = ConfigDict(frozen=True, extra="forbid")


class SweepConfig(_Section):
    interval_seconds: Seconds = Field(
        default=300, description="Seconds between two full scans of the flags, by the sweep and by each listener"
    )
    batch: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=20, description="Jobs the sweep enqueues per statement"
    )
    grace_seconds: Annotated[float, Field(ge=0, le=3600)] = Field(
        default=2, description="Seconds a flag may be without a job before it counts as a missed event"
    )


class CleanupConfig(_Section):
    interval_seconds: Seconds = Field(default=600, description="Seconds between two searches for stuck jobs")
    stuck_minutes: Annotated[int, Field(gt=0, le=10_080)] = Field(
        default=10, description="Minutes without a change after which a job of a silent worker counts as stuck"
    )


class SyncConfig(_Section):
    batch: Annotated[int, Field(ge=1, le=5_000)] = Field(default=50, description="Balances read in one call to a node")
    largest_batch: Annotated[int, Field(ge=1, le=5_000)] = Field(
        default=500, description="Largest batch: while more balances are due than one holds, each is twice the last"
    )
    lock_seconds: Annotated[float, Field(ge=1, le=3600)] = Field(
        default=120, description="Seconds a balance stays locked while it is read; then another sync may read it"
    )
    record_seconds: Annotated[float, Field(ge=0, le=604_800)] = Field(
        default=3600,
        description="Longest time that last_checked and sync_count of a balance that does not change are behind in "
        "wallet_balances (balance_state always has them); 0: each read writes them",
    )
    transfers_seconds: Annotated[float, Field(ge=0, le=86_400)] = Field(
        default=15,
        description="Seconds between two reads of the Transfer logs in new final blocks; wallets named there are due "
        "at once (EVM, two or three calls each); 0: never",
    )
    idle_seconds: Seconds = Field(default=5, description="Longest wait between two queries for due balances")


class NotifyConfig(_Section):
    gate: bool = Field(
        default=True,
        description="Under load poll every 20 ms and skip NOTIFY; false: one NOTIFY per statement",
    )


class QueueConfig(_Section):
    concurrency: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=256, description="Jobs one process runs at the same time, where its nodes answer as many"
    )
    enqueue_batch: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=1000, description="Flagged wallets a listener enqueues per statement"
    )
    max_retries: Annotated[int, Field(ge=1, le=100)] = Field(
        default=3, description="Attempts of a job before the dead letter"
    )
    backoff_base_seconds: Seconds = Field(
        default=5, description="Seconds before the second attempt; doubled for each further one"
    )
    backoff_cap_seconds: Seconds = Field(default=300, description="Longest wait between two attempts, seconds")
    quiet_seconds: Annotated[float, Field(ge=0, le=30 * 86_400)] = Field(
        default=3600,
        description="Seconds after a dead letter until the same flag starts a job again; one raised anew does not wait",
    )
    deadline_seconds: Seconds = Field(
        default=120, description="Seconds one attempt may take; then another worker takes the job over"
    )


class WorkersConfig(_Section):
    memory_limit_mb: Annotated[int, Field(ge=0, le=1_000_000), AfterValidator(_off_or_enough)] = Field(
        default=500,
        description="Megabytes of memory above which a worker hands back what it holds and begins anew, 200 at least; "
        "0: never",
    )
    error_percent: Annotated[int, Field(ge=1, le=100)] = Field(
        default=10,
        description="Share of failed attempts in ten minutes, percent, above which a worker is not healthy",
    )


class ScalingConfig(_Section):
    """Obeyed by sql/functions/scaling.sql, which has the same defaults."""

    engine: Literal["off", "agent", "keda"] = Field(
        default="off",
        description="What starts and ends workers by the load: agent (flagpost host), keda (Kubernetes), or off",
    )
    min_workers: Annotated[int, Field(ge=1, le=200)] = Field(
        default=1, description="Fewest workers of a type that auto-scaling leaves"
    )
    max_workers: Annotated[int, Field(ge=1, le=200)] = Field(
        default=10, description="Most workers of a type that auto-scaling starts"
    )
    up_above: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=50, description="Due jobs of a type above which auto-scaling adds workers"
    )
    up_by: Annotated[int, Field(ge=1, le=100)] = Field(default=2, description="Workers added at a time")
    down_below: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        default=5, description="Due jobs of a type below which auto-scaling takes workers away"
    )
    down_by: Annotated[int, Field(ge=1, le=100)] = Field(default=1, description="Workers taken away at a time")
    cooldown_seconds: Seconds = Field(default=300, description="Seconds between two changes of the same type")


class AlertsConfig(_Section):
    enabled: bool = Field(
        default=True, description="The sweep evaluates the rules of alerts and sends what they find; false: it does not"
    )
    interval_seconds: Annotated[float, Field(ge=1, le=3600)] = Field(
        default=30, description="Seconds between two evaluations; an alert is over when two do not find it"
    )
    remind_seconds: Annotated[float, Field(ge=60, le=30 * 86_400)] = Field(
        default=14_400, description="Seconds until an alert that lasts, and that nobody acknowledged, is sent again"
    )
    failed_jobs: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=1, description="Jobs of a type and chain that failed within the hour, from which on it is an alert"
    )
    failed_jobs_critical: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=10, description="The same, from which on that alert is critical"
    )
    retry_percent: Annotated[float, Field(ge=1, le=100)] = Field(
        default=20, description="Percent of the jobs begun within 15 minutes that had failed before"
    )
    retry_jobs: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=10, description="Fewer jobs that had failed before are no alert, whatever their share is"
    )
    worker_seconds: Annotated[float, Field(ge=0, le=86_400)] = Field(
        default=60,
        description="Seconds that a worker is silent or says an error, or a type has no worker, before it is an alert",
    )
    node_seconds: Annotated[float, Field(ge=0, le=86_400)] = Field(
        default=300, description="Seconds that a node is reported as failing before it is an alert"
    )
    gas_days: Annotated[float, Field(ge=0, le=365)] = Field(
        default=1, description="Days of top-ups, by those of the last 24 hours, below which a gas wallet is low"
    )
    budget_percent: Annotated[float, Field(ge=1, le=100)] = Field(
        default=80, description="Percent of gas_max_per_day or gas_max_total that are spent; doctor warns, too"
    )
    error_count: Annotated[int, Field(ge=10, le=1_000_000)] = Field(
        default=10, description="Failed reads of a balance above which it is an alert, if the last one failed as well"
    )
    lock_ended_seconds: Annotated[float, Field(ge=60, le=86_400)] = Field(
        default=600, description="Seconds after its end that the lock of a balance is still there"
    )
    blocked_seconds: Annotated[float, Field(ge=1, le=3600)] = Field(
        default=30, description="Seconds that a session of ours waits for a lock"
    )
    transaction_seconds: Annotated[float, Field(ge=60, le=7 * 86_400)] = Field(
        default=600, description="Seconds that a transaction is open, anybody's, and holds back vacuum"
    )
    notification_queue_percent: Annotated[float, Field(ge=0.1, le=50)] = Field(
        default=10, description="Percent of the server's notification queue that are in use"
    )


class HistoryConfig(_Section):
    """The lower bounds stand in sql/functions/job_history.sql, too: whoever looks back on what ended finds it."""

    move_after_days: Annotated[float, Field(ge=2, le=3_650)] = Field(
        default=30, description="Days after its end until a completed or cancelled job moves to job_history"
    )
    move_failed_after_days: Annotated[float, Field(ge=31, le=3_650)] = Field(
        default=90, description="Days after its end until a failed job moves to job_history"
    )
    keep_months: Annotated[int, Field(ge=0, le=1_200)] = Field(
        default=0, description="Whole months that job_history keeps before it drops the oldest; 0: all of them"
    )
    drop_unexported: bool = Field(
        default=False,
        description="Drop months that flagpost history export has not written to a file; false: they stay",
    )


ORDERED = (
    ("scaling.min_workers", "scaling.max_workers"),
    ("scaling.down_below", "scaling.up_above"),
)
"""Of each pair the first setting is never above the second."""


@dataclass(frozen=True, slots=True)
class ConfigEntry:
    """One setting, for people."""

    key: str
    default: Any
    """None for most chain and asset terms: their values are rows, not code."""
    value: Any
    description: str


class RuntimeConfig(_Section):
    """All of system_config. Missing keys have their defaults."""

    paused: bool = Field(
        default=False, description="Pauses the whole system: workers finish the jobs they hold and claim no new ones"
    )
    heartbeat_seconds: Annotated[float, Field(gt=0, le=60)] = Field(
        default=30, description="Seconds between two heartbeats of a worker"
    )
    sweep: SweepConfig = SweepConfig()
    cleanup: CleanupConfig = CleanupConfig()
    sync: SyncConfig = SyncConfig()
    notify: NotifyConfig = NotifyConfig()
    queue: QueueConfig = QueueConfig()
    history: HistoryConfig = HistoryConfig()
    workers: WorkersConfig = WorkersConfig()
    scaling: ScalingConfig = ScalingConfig()
    alerts: AlertsConfig = AlertsConfig()

    _problems: tuple[str, ...] = PrivateAttr(())

    @property
    def problems(self) -> tuple[str, ...]:
        """What was wrong with rows of system_config, each naming its key."""
        return self._problems

    @classmethod
    def of(cls, rows: Mapping[str, Any], last_good: Self | None = None) -> Self:
        """The configuration out of key → JSON value. A bad row is a problem, and its last good value stays."""
        good = (last_good or cls()).values()
        given: dict[str, Any] = {}
        problems: list[str] = []
        for key, value in sorted(rows.items()):  # a section sorts before its keys, which so win over it
            try:
                for single, part in _spread(key, value):
                    given[single] = cls.check(single, part)
            except ConfigError as error:
                problems.append(f"system_config {key}: {error}")
                given |= {single: good[single] for single in good if single == key or single.startswith(f"{key}.")}
        config = cls.model_validate(_nested(given))
        config._problems = tuple(problems)
        return config

    @classmethod
    async def load(cls, connection: Connection, last_good: Self | None = None) -> Self:
        """The configuration in the database. Each bad row is logged with its key; its last good value stays."""
        rows = {row["key"]: row["value"] for row in await fetch(connection, "config/load")}
        config = cls.of(rows, last_good)
        for problem in config.problems:
            if last_good is None or problem not in last_good.problems:
                logger.warning("{} (its last good value stays in force)", problem)
        return config

    @classmethod
    async def set(cls, connection: Connection, key: str, value: Any, *, admin: UUID | None = None) -> None:
        """Write one setting: a key of system_config, or a term such as ``tron.USDT.consolidate_flag_above``.

        ``admin``: who does it, for admin_actions (auth.users.id). Raises ConfigError for an unknown key, a value it
        cannot take, or settings and terms that would contradict each other.
        """
        if key not in cls.defaults() and await is_term(connection, key):
            await set_term(connection, key, value, admin=admin)
            return
        checked = cls.check(key, value)
        (await cls.load(connection))._refuse_contradiction(key, checked)
        await execute(
            connection,
            "config/set",
            key=key,
            value=Jsonb(checked),
            description=cls.descriptions()[key],
            admin=admin,
        )

    @classmethod
    async def describe(cls, connection: Connection) -> list[ConfigEntry]:
        """Every setting with default, value in force and meaning; system_config first, then chains and assets."""
        config = await cls.load(connection)
        defaults, descriptions = cls.defaults(), cls.descriptions()
        own = [ConfigEntry(key, defaults[key], value, descriptions[key]) for key, value in config.values().items()]
        terms = await describe_terms(connection)
        return own + [ConfigEntry(term.key, term.default, term.value, term.description) for term in terms]

    @classmethod
    def check(cls, key: str, value: Any) -> Any:
        """``value`` as ``key`` takes it. Raises ConfigError for an unknown key or a value it cannot take."""
        if key not in cls.defaults():
            raise unknown_key(key, cls.defaults())
        if isinstance(value, bool) != isinstance(cls.defaults()[key], bool):
            kind = "true or false" if isinstance(cls.defaults()[key], bool) else "a number"
            raise ConfigError(f"{key} takes {kind}, not {value!r}")
        try:
            return cls.model_validate(_nested({key: value})).values()[key]
        except ValidationError as error:
            reasons = "; ".join(
                problem["msg"].removeprefix("Value error, ") for problem in error.errors(include_url=False)
            )
            raise ConfigError(f"{key} cannot be {value!r}: {reasons}") from None

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Key → default."""
        return cls().values()

    @classmethod
    def descriptions(cls) -> dict[str, str]:
        """Key → meaning."""
        return {
            key: field.description or ""
            for name, section in cls.model_fields.items()
            for key, field in _fields(name, section.annotation, section)
        }

    def values(self) -> dict[str, Any]:
        """Key → value."""
        return dict(_flat(self.model_dump()))

    def _refuse_contradiction(self, key: str, value: Any) -> None:
        """Raises ConfigError where ``value`` of ``key`` contradicts another setting that is in force."""
        values = self.values() | {key: value}
        for lower, upper in ORDERED:
            if key in (lower, upper) and values[lower] > values[upper]:
                other, where = (upper, "above") if key == lower else (lower, "below")
                raise ConfigError(f"{key} cannot be {value}: that is {where} {other} ({values[other]}); set that first")


def _fields(name: str, annotation: Any, field: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(annotation, type) and issubclass(annotation, _Section):
        for inner, inner_field in annotation.model_fields.items():
            yield f"{name}.{inner}", inner_field
    else:
        yield name, field


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _spread(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """A section's row as single keys; any other row as it is."""
    if isinstance(value, dict):
        yield from _flat(value, f"{key}.")
    else:
        yield key, value


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in values.items():
        section, _, name = key.rpartition(".")
        (nested.setdefault(section, {}) if section else nested)[name] = value
    return nested
