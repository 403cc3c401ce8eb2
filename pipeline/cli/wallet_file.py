"""Wallet lists in files: CSV with a header, or JSON. Every bad line is reported, not just the first.

CSV columns, in any order: ``address`` (required), ``index`` (ours: i of the derivation path), ``user_id``.
JSON: an array of addresses, or of objects with the same names.
"""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from pipeline.cli.output import CommandError
from pipeline.keys.derivation import MAX_INDEX

COLUMNS = ("address", "index", "user_id")


@dataclass(frozen=True, slots=True)
class WalletEntry:
    """One wallet as the file has it."""

    place: str
    """Where it stands, for messages: ``line 3`` of a CSV, ``entry 3`` of a JSON file."""
    address: str
    index: int | None
    user_id: UUID | None


@dataclass(frozen=True, slots=True)
class Problem:
    """Why one line cannot be taken."""

    place: str
    message: str


def read_wallets(path: Path) -> tuple[list[WalletEntry], list[Problem]]:
    """All entries that can be read, and a problem for each that cannot.

    Raises CommandError when the file itself cannot be: missing, not UTF-8, no ``address`` column, no JSON array.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise CommandError(f"{path} cannot be read: {error}", "give a CSV or JSON file in UTF-8") from None
    is_json = path.suffix.lower() == ".json" or text.lstrip().startswith("[")
    entries: list[WalletEntry] = []
    problems: list[Problem] = []
    for place, fields in _json_fields(path, text) if is_json else _csv_fields(path, text):
        try:
            entries.append(_entry(place, fields))
        except ValueError as error:
            problems.append(Problem(place, str(error)))
    return entries, problems


def _csv_fields(path: Path, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text), skipinitialspace=True)
    names = [name.strip().lower() for name in reader.fieldnames or []]
    if "address" not in names:
        raise CommandError(f"{path} has no column named address", f"first line: {','.join(COLUMNS)}")
    reader.fieldnames = names
    for row in reader:
        if any(value for value in row.values()):
            yield f"line {reader.line_num}", row


def _json_fields(path: Path, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise CommandError(f"{path} is not JSON: {error}", 'expected ["T…", {"address": "T…", "index": 10}]') from None
    if not isinstance(document, list):
        raise CommandError(f"{path} holds no JSON array", 'expected ["T…", {"address": "T…", "index": 10}]')
    for number, item in enumerate(document, start=1):
        yield f"entry {number}", {"address": item} if isinstance(item, str) else item


def _entry(place: str, fields: Any) -> WalletEntry:
    if not isinstance(fields, dict):
        raise ValueError(  # noqa: TRY004 - the file's fault, reported with its line
            f"expected an address or an object, found {type(fields).__name__}"
        )
    if None in fields:
        raise ValueError("more values than columns")
    unknown = sorted(str(name) for name in fields if name not in COLUMNS)
    if unknown:
        raise ValueError(f"unknown field {', '.join(unknown)}: the fields are {', '.join(COLUMNS)}")
    address = fields.get("address")
    if not isinstance(address, str) or not address.strip():
        raise ValueError("address is missing")
    return WalletEntry(place, address.strip(), _index(fields.get("index")), _user(fields.get("user_id")))


def _index(value: Any) -> int | None:
    if value is None or value == "":
        return None
    text = str(value).strip()
    if isinstance(value, bool) or not text.isascii() or not text.isdigit():
        raise ValueError(f"index {text!r} is not a whole number from 0 on")
    if len(text) > 10 or int(text) > MAX_INDEX:
        raise ValueError(f"index {text[:20]} is beyond the last one, {MAX_INDEX}")
    return int(text)


def _user(value: Any) -> UUID | None:
    if value is None or value == "":
        return None
    try:
        return UUID(str(value).strip())
    except ValueError:
        raise ValueError(f"user_id {str(value)!r} is not a UUID") from None
