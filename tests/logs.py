"""What a test configures of the log ends with it."""

import contextlib
import logging
import sys
from collections.abc import Iterator

from loguru import logger

from pipeline import log, redaction


@contextlib.contextmanager
def logging_restored() -> Iterator[None]:
    """For what configures the log in this process: afterwards nothing writes to its stream, which may be closed by
    then, and the secrets it registered are forgotten."""
    try:
        yield
    finally:
        logger.remove()
        logger.add(_write)
        for handler in logging.root.handlers[:]:
            if isinstance(handler, log._FromStandardLibrary):
                logging.root.removeHandler(handler)
        redaction.forget()


@contextlib.contextmanager
def logged(level: str = "WARNING") -> Iterator[list[str]]:
    """The lines logged meanwhile, from ``level`` on: ``WARNING what was said``."""
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message).rstrip()), level=level, format="{level} {message}")
    try:
        yield lines
    finally:
        logger.remove(sink)


@contextlib.contextmanager
def said(level: str = "ERROR") -> Iterator[list[str]]:
    """What is logged meanwhile, of that level and above."""
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(message.record["message"]), level=level)
    try:
        yield lines
    finally:
        logger.remove(sink)


def _write(line: str) -> None:
    sys.stderr.write(line)  # the one of this moment, which pytest changes from test to test
