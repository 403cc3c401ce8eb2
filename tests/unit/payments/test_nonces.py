"""Sets of nonces, as a person is shown them and as the database keeps them."""

import pytest
from psycopg.types.multirange import Multirange
from psycopg.types.range import Range

from pipeline.payments.nonces import Nonces


@pytest.mark.parametrize(
    ("nonces", "column", "text"),
    [
        ([], "{}", ""),
        ([5], "{[5,6)}", "5"),
        ([9, 5], "{[5,6),[9,10)}", "5, 9"),
        ([7, 5, 6, 9], "{[5,8),[9,10)}", "5 to 7, 9"),
    ],
)
def test_exactly_these(nonces: list[int], column: str, text: str) -> None:
    found = Nonces.one_by_one(nonces)
    assert (found.column, str(found), bool(found)) == (column, text, bool(nonces))
    assert [nonce for nonce in range(12) if nonce in found] == sorted(nonces)


def test_ranges_that_overlap_or_touch_are_one() -> None:
    assert Nonces.of(range(4, 9), range(1, 2), range(2, 3), range(5, 6), range(7, 7)) == Nonces(
        (range(1, 3), range(4, 9))
    )


def test_as_psycopg_gives_a_column() -> None:
    assert Nonces.from_column(Multirange([Range(1, 3), Range(5, 6)])) == Nonces.one_by_one([1, 2, 5])
    assert Nonces.from_column(None) == Nonces()


def test_a_run_ends_at_a_hole() -> None:
    nonces = Nonces.one_by_one([1, 2, 3, 5])
    assert [nonces.run_from(first) for first in (2, 5, 4)] == [range(2, 4), range(5, 6), range(4, 4)]
