"""The least that anybody who is woken by NOTIFY can take: one session rings, another hears it.

python -m bench.floor work DSN                  hears, until SIGTERM
python -m bench.floor pace DSN --count --rate   rings
"""

import argparse
import json
import signal
import sys
import time
from typing import Any

import psycopg

from bench.pacing import paced


def say(**values: Any) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


class Stopped(Exception):
    """SIGTERM."""


def _stop(*_: object) -> None:
    raise Stopped


def work(dsn: str) -> None:
    heard: list[tuple[int, int]] = []
    signal.signal(signal.SIGTERM, _stop)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("LISTEN bench")
        say(ready=True)
        try:
            for notify in connection.notifies():
                heard.append((int(notify.payload), time.monotonic_ns()))
        except Stopped:
            say(report={"starts": heard})


def pace(dsn: str, count: int, rate: float) -> None:
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=0) as connection:
        events = paced(count, rate, lambda number: connection.execute("SELECT pg_notify('bench', %s)", [str(number)]))
    say(report={"events": events})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("work", "pace"))
    parser.add_argument("dsn")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=50)
    options = parser.parse_args()
    if options.action == "work":
        work(options.dsn)
    else:
        pace(options.dsn, options.count, options.rate)


if __name__ == "__main__":
    main()
