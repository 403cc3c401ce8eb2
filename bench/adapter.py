"""What every adapter in Python shares: its command line, and what it says. Needs nothing but Python."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

PROGRESS = 1000
"""Jobs between two lines about them."""

Action = Callable[[argparse.Namespace], None]


def say(**values: Any) -> None:
    """One line of JSON for the runner."""
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


class Starts:
    """When the handler was called, and for which event."""

    def __init__(self) -> None:
        self.all: list[tuple[int, int]] = []
        """Event number, and time in ns of the monotonic clock."""

    def note(self, number: int) -> None:
        """The handler of event ``number`` starts now."""
        self.all.append((number, time.monotonic_ns()))
        if len(self.all) % PROGRESS == 0:
            say(handled=len(self.all))


def answer(description: str, actions: Mapping[str, Action]) -> None:
    """Run the action that the command line names (bench/contestants.py says what each is)."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=actions)
    parser.add_argument("dsn")
    parser.add_argument("--count", type=int, default=1000, help="jobs, or events")
    parser.add_argument("--rate", type=float, default=50, help="events a second")
    parser.add_argument("--chunk", type=int, default=1000, help="jobs in one call")
    parser.add_argument("--wallets", type=int, default=1000, help="for the project: wallets to have")
    parser.add_argument("--flags", action="store_true", help="for the project: raise flags instead of queueing jobs")
    parser.add_argument("--driver", default="", help="for pgqueuer: asyncpg or psycopg")
    parser.add_argument("--batch", type=int, default=10, help="jobs taken at once")
    parser.add_argument("--concurrency", type=int, default=1, help="jobs run at once")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=JSON", help="for the project: configuration")
    options = parser.parse_args()
    actions[options.action](options)
