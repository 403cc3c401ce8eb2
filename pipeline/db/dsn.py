"""Which database this process talks to."""

from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pipeline.db.errors import NoDatabase
from pipeline.settings import Settings

APPLICATION_PREFIX = "flagpost"
"""Starts the application_name of every connection of ours."""

_SECRET = frozenset({"password", "sslpassword", "oauth_client_secret"})
"""Keywords of a DSN that are shown to nobody."""


def database_dsn(settings: Settings) -> str:
    """DATABASE_URL. Whoever composes a process has set it to the embedded server of the home where nobody named a
    database (``embedded.cluster.with_database``); raises NoDatabase where it did not."""
    if settings.database_url is None:
        raise NoDatabase("no database is named: set DATABASE_URL")
    return settings.database_url


def listen_dsn(settings: Settings) -> str:
    """The direct DSN for LISTEN: FLAGPOST_LISTEN_URL, else the same as for everything else."""
    return settings.listen_url or database_dsn(settings)


def behind_pooler(settings: Settings) -> bool:
    """Whether ``database_dsn`` goes through a pooler: said by giving LISTEN a DSN of its own."""
    return settings.listen_url is not None and settings.listen_url != settings.database_url


def with_application(dsn: str, name: str) -> str:
    """``dsn`` with an application_name that pg_stat_activity shows as one of ours."""
    return make_conninfo(dsn, application_name=f"{APPLICATION_PREFIX} {name}".strip())


def without_password(dsn: str) -> str:
    """``dsn`` as it may be shown to people, logs and process lists, in the keyword form without its passwords."""
    parts = {key: value for key, value in conninfo_to_dict(dsn).items() if key not in _SECRET}
    return make_conninfo("", **parts)


def as_url(dsn: str) -> str:
    """``dsn`` as a URL, which Honcho, psql and most drivers take."""
    if dsn.startswith(("postgresql://", "postgres://")):
        return dsn
    parts = {key: str(value) for key, value in conninfo_to_dict(dsn).items() if value is not None}
    user = quote(parts.pop("user", ""), safe="")
    password = parts.pop("password", None)
    authority = user + (f":{quote(password, safe='')}" if password is not None else "") + ("@" if user else "")
    database = quote(parts.pop("dbname", ""), safe="")
    query = "&".join(f"{key}={quote(value, safe='')}" for key, value in parts.items())
    return f"postgresql://{authority}/{database}" + (f"?{query}" if query else "")
