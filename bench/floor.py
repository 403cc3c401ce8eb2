"""The least that anybody who is woken by NOTIFY can take: one session rings, another hears it.

python -m bench.floor work DSN                  hears, until SIGTERM
python -m bench.floor pace DSN --count --rate   rings
"""

import argparse
import signal
import time

import psycopg

from bench.adapter import answer, say
from bench.pacing import paced


class Stopped(Exception):
    """SIGTERM."""


def _stop(*_: object) -> None:
    raise Stopped


def work(options: argparse.Namespace) -> None:
    heard: list[tuple[int, int]] = []
    signal.signal(signal.SIGTERM, _stop)
    with psycopg.connect(options.dsn, autocommit=True) as connection:
        connection.execute("LISTEN bench")
        say(ready=True)
        try:
            for notify in connection.notifies():
                heard.append((int(notify.payload), time.monotonic_ns()))
        except Stopped:
            say(report={"starts": heard})


def pace(options: argparse.Namespace) -> None:
    with psycopg.connect(options.dsn, autocommit=True, prepare_threshold=0) as connection:
        events = paced(
            options.count,
            options.rate,
            lambda number: connection.execute("SELECT pg_notify('bench', %s)", [str(number)]),
        )
    say(report={"events": events})


if __name__ == "__main__":
    answer(__doc__ or "", {"work": work, "pace": pace})
