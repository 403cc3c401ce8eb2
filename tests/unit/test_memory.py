"""When a process has too much memory, and when another restart is due for it."""

from dataclasses import dataclass, field

import pytest

from pipeline.config import RuntimeConfig
from pipeline.config.errors import ConfigError
from pipeline.workers.memory import MemoryLimit

LIMIT = 500
HOUR = 3600.0


@dataclass
class ProcessToMeasure:
    """Its clock and its memory are set by hand."""

    now: float = 1000.0
    megabytes: float | None = 100.0
    limit: MemoryLimit = field(init=False)

    def __post_init__(self) -> None:
        self.limit = MemoryLimit(
            resident=lambda: None if self.megabytes is None else int(self.megabytes * 1_000_000),
            clock=lambda: self.now,
        )
        self.limit.restarts = 0

    def after(self, seconds: float, megabytes: float | None, limit_mb: int = LIMIT) -> str:
        self.now += seconds
        self.megabytes = megabytes
        return self.limit.judge(limit_mb)


@pytest.fixture
def process() -> ProcessToMeasure:
    return ProcessToMeasure()


@pytest.mark.parametrize(("megabytes", "limit_mb"), [(500, LIMIT), (9000, 0), (None, LIMIT)])
def test_at_the_limit_without_one_and_without_a_measurement_no_restart_is_due(
    process: ProcessToMeasure, megabytes: float | None, limit_mb: int
) -> None:
    assert process.after(HOUR, megabytes, limit_mb) == ""
    assert process.limit.restart_due == ""


@pytest.mark.parametrize(("restarts", "settling"), [(0, 60), (1, 120), (2, 240), (5, 1920), (6, HOUR), (1000, HOUR)])
def test_each_restart_that_did_not_help_doubles_the_time_until_the_next(
    process: ProcessToMeasure, restarts: int, settling: float
) -> None:
    process.limit.restarts = restarts
    process.after(settling - 1, 501)
    assert process.limit.restart_due == ""
    process.after(1, 501)
    assert process.limit.restart_due == "501 MB of memory are more than workers.memory_limit_mb (500)"


def test_what_it_says_names_the_restarts_and_what_to_do_but_not_the_memory_of_the_moment(
    process: ProcessToMeasure,
) -> None:
    assert process.after(1, 600) == "", "the first restart may help"
    process.limit.restarts = 3
    said = process.after(1, 600)
    assert said == (
        "restarts in a row that did not bring its memory below workers.memory_limit_mb (500): 3; "
        "raise it: flagpost config set workers.memory_limit_mb 1000"
    )
    assert process.after(1, 601) == said
    assert process.after(1, 499) == ""


def test_an_hour_below_the_limit_ends_the_row_of_restarts(process: ProcessToMeasure) -> None:
    process.limit.restarts = 3
    process.after(1, 499)
    process.after(HOUR - 1, 499)
    process.after(0, 501)
    process.after(2, 499)
    process.after(HOUR - 1, 499)
    assert process.limit.restarts == 3
    process.after(1, 499)
    assert process.limit.restarts == 0


@pytest.mark.parametrize("value", [0, 200, "200", 1_000_000])
def test_a_limit_is_none_or_enough_to_begin_with(value: object) -> None:
    assert RuntimeConfig.check("workers.memory_limit_mb", value) == int(str(value))


@pytest.mark.parametrize("value", [1, 199, "50"])
def test_a_lower_limit_is_refused(value: object) -> None:
    with pytest.raises(ConfigError) as refused:
        RuntimeConfig.check("workers.memory_limit_mb", value)
    assert str(refused.value) == (
        f"workers.memory_limit_mb cannot be {value!r}: expected 0, which is no limit, or at least 200"
    )


def test_a_lower_limit_in_a_row_leaves_the_last_good_one() -> None:
    good = RuntimeConfig.of({"workers.memory_limit_mb": 300})
    bad = RuntimeConfig.of({"workers.memory_limit_mb": 10}, good)
    assert bad.workers.memory_limit_mb == 300
    assert bad.problems == (
        "system_config workers.memory_limit_mb: workers.memory_limit_mb cannot be 10: "
        "expected 0, which is no limit, or at least 200",
    )
