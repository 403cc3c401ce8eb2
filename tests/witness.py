"""Libraries that nobody here wrote, asked for a second opinion."""

from typing import Any

import pytest


def witness(module: str) -> Any:
    """``module``, or a skip: coincurve, tronpy, bip-utils and pyrevm have no wheel for newer Pythons."""
    return pytest.importorskip(module, reason=f"{module} cannot be installed on this Python")
