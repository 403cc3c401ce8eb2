"""MalformedAnswer answers are told in the log, thousands of them."""

from collections.abc import Iterator

import pytest
from loguru import logger


@pytest.fixture
def quiet() -> Iterator[None]:
    logger.disable("pipeline")
    yield
    logger.enable("pipeline")
