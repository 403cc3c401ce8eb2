"""Processes that sign nothing load no code that can: what they import, as a process does it."""

import subprocess
import sys

import pytest

FORBIDDEN = ("pipeline.keys", "pipeline.signing", "pipeline.payments.send")


def loaded_by(worker: str) -> list[str]:
    """What of the forbidden rooms a process has loaded that runs this worker's command."""
    code = (
        f"import sys, pipeline.cli.main, pipeline.cli.processes, pipeline.workers.{worker}; "
        f"print(*sorted(name for name in sys.modules if name.startswith({FORBIDDEN!r})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.parametrize("worker", ["confirmations", "sweep", "sync"])
def test_a_process_without_keys_loads_no_signing(worker: str) -> None:
    assert loaded_by(worker) == []


def test_a_process_that_pays_loads_it() -> None:
    """So that the test above looks for what there is."""
    assert {"pipeline.keys.private", "pipeline.signing.local", "pipeline.payments.send.sender"} <= set(
        loaded_by("gas_topup")
    )
