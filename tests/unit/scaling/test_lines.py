"""What the agent of a host makes of a Procfile: workers, other lines for a shell, and what it refuses."""

from collections.abc import Mapping, Sequence

import pytest

from pipeline.scaling.lines import OtherLine, ProcfileError, WorkerLine, read_lines
from pipeline.workers.procfile import procfile


@pytest.mark.parametrize(
    ("command", "worker_type", "blockchain", "argv", "environment"),
    [
        ("flagpost sync", "sync", "", ["flagpost", "sync"], {}),
        (
            "flagpost gas-topup --chain tron",
            "gas-topup",
            "tron",
            ["flagpost", "gas-topup", "--chain", "tron"],
            {},
        ),
        (
            "flagpost sync --chain=tron --chain bsc --chain tron",
            "sync",
            "bsc,tron",
            ["flagpost", "sync", "--chain=tron", "--chain", "bsc", "--chain", "tron"],
            {},
        ),
        (
            "FLAGPOST_LOG_LEVEL=DEBUG NAME='two words' .venv/bin/flagpost sweep",
            "sweep",
            "",
            [".venv/bin/flagpost", "sweep"],
            {"FLAGPOST_LOG_LEVEL": "DEBUG", "NAME": "two words"},
        ),
    ],
)
def test_a_worker(
    command: str, worker_type: str, blockchain: str, argv: Sequence[str], environment: Mapping[str, str]
) -> None:
    workers, others = read_lines({"name": command})
    assert workers == [WorkerLine("name", worker_type, blockchain, tuple(argv), environment)]
    assert others == []


@pytest.mark.parametrize(
    "command",
    [
        "node server.js",
        "flagpost migrate",
        "flagpost migrate && flagpost sync",
        "flagpost sync | tee sync.log",
        "flagpost sync --chain $CHAIN",
        "flagpost",
        "A=1",
    ],
)
def test_everything_else_is_left_to_a_shell(command: str) -> None:
    assert read_lines({"name": command}) == ([], [OtherLine("name", command)])


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ({"host": "flagpost host"}, "line 'host' starts an agent"),
        ({"host": "/opt/flagpost host --name a"}, "does not run itself"),
        ({"a": "flagpost sync", "b": "flagpost sync"}, "'a' and 'b' do the same work"),
        ({"a": "flagpost sync --chain tron,bsc", "b": "flagpost sync 'open"}, "line 'b' cannot be read"),
    ],
)
def test_what_is_refused(lines: Mapping[str, str], said: str) -> None:
    with pytest.raises(ProcfileError, match=said):
        read_lines(lines)


def test_two_lines_for_different_chains_are_two_kinds_of_worker() -> None:
    workers, _ = read_lines({"a": "flagpost sync --chain tron", "b": "flagpost sync --chain bsc", "c": "flagpost sync"})
    assert [line.blockchain for line in workers] == ["tron", "bsc", ""]


def test_only_some_types() -> None:
    workers, others = read_lines({**procfile(), "other": "sleep 1"}, ["sync", "sweep"])
    assert [line.type for line in workers] == ["sync", "sweep"]
    assert others == []
    with pytest.raises(ProcfileError, match="no line for deposits"):
        read_lines(procfile(), ["deposits", "sync"])


def test_every_line_of_ours_is_a_worker() -> None:
    workers, others = read_lines(procfile())
    assert [line.name for line in workers] == list(procfile())
    assert others == []
