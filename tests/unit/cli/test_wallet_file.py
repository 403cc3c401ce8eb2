"""Reading wallet lists: every bad line has its number, good ones are kept."""

from uuid import UUID

import pytest

from pipeline.cli.output import CommandError
from pipeline.cli.wallet_file import WalletEntry, read_wallets

USER = "9a5bd09e-2f3f-4a3e-8a1c-0e3f6d2b1a77"


def written(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_csv_with_columns_in_any_order(tmp_path):
    path = written(tmp_path, "w.csv", f"User_ID, index, Address\n{USER},10,TA\n\n,,TB\n")
    entries, problems = read_wallets(path)
    assert problems == []
    assert entries == [WalletEntry("line 2", "TA", 10, UUID(USER)), WalletEntry("line 4", "TB", None, None)]


def test_json_of_addresses_and_objects(tmp_path):
    path = written(tmp_path, "w.json", '["TA", {"address": "TB", "index": 11}]')
    assert read_wallets(path) == (
        [WalletEntry("entry 1", "TA", None, None), WalletEntry("entry 2", "TB", 11, None)],
        [],
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("TA,-1,", "whole number"),
        ("TA,1.5,", "whole number"),
        ("TA,ten,", "whole number"),
        ("TA,,nobody", "not a UUID"),
        (",12,", "address is missing"),
        ("TA,12,,extra", "more values than columns"),
    ],
)
def test_a_bad_csv_line_is_named_and_the_others_are_read(tmp_path, line, message):
    entries, problems = read_wallets(written(tmp_path, "w.csv", f"address,index,user_id\nTG,10,\n{line}\n"))
    assert [entry.address for entry in entries] == ["TG"]
    assert [problem.place for problem in problems] == ["line 3"]
    assert message in problems[0].message


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("7", "found int"),
        ('{"adress": "TA"}', "unknown field adress"),
        ('{"address": 5}', "address is missing"),
        ('{"address": "TA", "index": true}', "whole number"),
    ],
)
def test_a_bad_json_entry_is_named(tmp_path, item, message):
    _, problems = read_wallets(written(tmp_path, "w.json", f"[{item}]"))
    assert problems[0].place == "entry 1"
    assert message in problems[0].message


@pytest.mark.parametrize(
    ("name", "text"),
    [("w.csv", "wallet\nTA\n"), ("w.csv", ""), ("w.json", '{"address": "TA"}'), ("w.json", "[TA]")],
)
def test_a_file_of_another_kind_is_refused_with_what_is_expected(tmp_path, name, text):
    with pytest.raises(CommandError) as caught:
        read_wallets(written(tmp_path, name, text))
    assert "address" in caught.value.hint


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(CommandError, match="cannot be read"):
        read_wallets(tmp_path / "none.csv")
