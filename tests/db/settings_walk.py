"""Every setting that an administrator may give a role or a database, with values that are odd and legal."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

MOST_VALUES = 4
"""Of one setting."""
TEXTS = {
    "DateStyle": ("SQL, DMY", "German, MDY", "Postgres, YMD", "ISO, DMY"),
    "TimeZone": ("Asia/Kathmandu", "America/St_Johns", "<+99>-99", "Pacific/Kiritimati"),
    "search_path": ("", "pg_temp", '"$user", pg_temp, pg_catalog', "information_schema"),
    "client_encoding": ("LATIN1", "SQL_ASCII", "EUC_JP", "WIN1251"),
    "default_tablespace": ("pg_default",),
    "temp_tablespaces": ("pg_default", "nowhere"),
    "default_text_search_config": ("pg_catalog.german",),
    "default_table_access_method": ("heap",),
    "lc_messages": ("C", "POSIX"),
    "lc_monetary": ("C", "POSIX"),
    "lc_numeric": ("C", "POSIX"),
    "lc_time": ("C", "POSIX"),
    "restrict_nonsystem_relation_kind": ("view", "foreign-table", "view, foreign-table"),
    "createrole_self_grant": ("set, inherit",),
    "timezone_abbreviations": ("India", "Australia"),
    "application_name": ("flagpost", ""),
    "wal_consistency_checking": ("all",),
    "plpgsql.extra_errors": ("all",),
    "plpgsql.extra_warnings": ("all",),
    "synchronous_standby_names": (),
}
"""Values of what is neither a number nor one of a list."""
HARMFUL = frozenset(
    {
        # Of a server that is debugged: each statement becomes thousands of times slower, or writes a core.
        "ignore_system_indexes",
        "debug_discard_caches",
        "zero_damaged_pages",
        "ignore_checksum_failure",
    }
)


@dataclass(frozen=True, slots=True)
class Odd:
    """One setting with one value."""

    name: str
    value: str

    def __str__(self) -> str:
        return f"{self.name} = {self.value!r}"


def odd_settings(connection: psycopg.Connection) -> list[Odd]:
    """What the database of ``connection`` takes. Each is tried, and taken back."""
    connection.execute("SELECT pg_catalog.now()")
    connection.execute("DO LANGUAGE plpgsql 'BEGIN END'")  # brings plpgsql's own settings
    rows = connection.execute(
        "SELECT name, vartype, enumvals, min_val, max_val, setting FROM pg_settings"
        " WHERE context IN ('user', 'superuser', 'backend', 'superuser-backend') ORDER BY name"
    ).fetchall()
    found = []
    for name, kind, words, least, most, now in rows:
        if name in HARMFUL:
            continue
        values = [value for value in _values(name, kind, words, least, most) if value != now]
        for value in values[:MOST_VALUES]:
            odd = Odd(name, value)
            try:
                give(connection, [odd])
            except psycopg.Error:
                continue  # not for a role or a database, or not with this value
            found.append(odd)
            take_back(connection)
    return found


def batches(odd: Iterable[Odd]) -> list[list[Odd]]:
    """Each setting once in a batch, and every value in some batch."""
    made: list[list[Odd]] = []
    for one in odd:
        place = next((batch for batch in made if one.name not in {other.name for other in batch}), None)
        if place is None:
            made.append(place := [])
        place.append(one)
    return made


def give(connection: psycopg.Connection, odd: Sequence[Odd]) -> None:
    """``ALTER DATABASE … SET``, for sessions that begin from now on."""
    for one in odd:
        # A name with a dot is that of an extension's setting.
        name = sql.SQL(".").join(sql.Identifier(part) for part in one.name.split("."))
        connection.execute(
            sql.SQL("ALTER DATABASE {} SET {} TO {}").format(
                sql.Identifier(connection.info.dbname), name, _literal(one)
            )
        )


def take_back(connection: psycopg.Connection) -> None:
    connection.execute(sql.SQL("ALTER DATABASE {} RESET ALL").format(sql.Identifier(connection.info.dbname)))


def _literal(one: Odd) -> sql.Composable:
    if one.name in ("search_path", "temp_tablespaces") and one.value:
        return sql.SQL(one.value)  # type: ignore[arg-type]  # a list of names
    return sql.Literal(one.value)


def _values(name: str, kind: str, words: list[str] | None, least: str | None, most: str | None) -> list[str]:
    if name in TEXTS:
        return list(TEXTS[name])
    if kind == "bool":
        return ["on", "off"]
    if kind == "enum":
        return list(words or ())
    if kind in ("integer", "real"):
        return [value for value in (least, most, "1") if value is not None]
    return ["", "odd"]
