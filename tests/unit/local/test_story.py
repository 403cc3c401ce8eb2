"""What a person sees of `flagpost up`: aligned, short addresses in steady colours, no noise."""

import io
import re
from datetime import UTC, datetime

from honcho.printer import Message

from pipeline.local.story import StoryPrinter, shorten

ADDRESS = "TUEZSdKsoDHQMeZwihtdoBiN46zxhGWYdH"
OTHER = "TSeJkUh4Qv67VNFwY8LaAxERygNdy6NQZK"


def printed(text, *, colour):
    stream = io.StringIO()
    printer = StoryPrinter(stream, colour=colour)
    printer.width = 13
    printer.write(Message("line", text, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "sync", "36"))
    return stream.getvalue()


def test_without_a_terminal_lines_are_plain_and_addresses_whole():
    assert printed(f"deposit 12 USDT to {ADDRESS}\n", colour=False) == (
        f"03:04:05 sync          │ deposit 12 USDT to {ADDRESS}\n"
    )


def test_on_a_terminal_one_wallet_keeps_one_short_coloured_name():
    text = printed(f"{ADDRESS} and {OTHER} and {ADDRESS}", colour=True)
    names = re.findall(r"\x1b\[38;5;(\d+)m(T\S+?)\x1b", text)
    assert [name for _, name in names] == [shorten(ADDRESS), shorten(OTHER), shorten(ADDRESS)]
    assert names[0] == names[2]


def test_on_a_terminal_all_amounts_have_one_form():
    text = re.sub(
        r"\x1b\[[\d;]*m", "", printed("→ 1808.5 USDT, 0.00009706551304013 BNB (+2,000.00 USDT), 3 TRX", colour=True)
    )
    assert text.endswith("│ → 1,808.50 USDT, 0.00009706… BNB (+2,000.00 USDT), 3 TRX\n")


def test_empty_lines_are_not_printed():
    assert printed("\n  \n", colour=True) == ""


def test_bytes_that_are_not_text_do_not_stop_the_printer():
    assert "�" in printed(b"\xff\xfe oops", colour=False)


def test_the_head_of_a_log_line_goes_and_alarms_stay():
    assert printed("03:04:05.678 INFO    sync: ready as x", colour=False) == "03:04:05 sync          │ ready as x\n"
    assert "│ WARNING: no node" in printed("03:04:05.678 WARNING no node", colour=False)
