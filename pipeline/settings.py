"""The environment, read once and typed. Nothing else in the package reads ``os.environ`` but ``pipeline.environment``,
which hands it on.

Variables of the process win over those in ``.env`` of the working directory, the file that Honcho reads too, so
that ``flagpost jobs list`` in a production directory sees the database its Procfile sees.
"""

import json
import os
import re
import stat
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import Field, PrivateAttr, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from pipeline.redaction import register_dsn, register_mnemonic, register_secret, register_secret_address

ENV_FILE = Path(".env")
_LONGEST_NODES = 10_000
"""Characters."""
_MAIL_ADDRESS = re.compile(r"[^@\s,<>]+@[^@\s,<>]+")
CRASH_POINT_PATTERN = r"^[a-z0-9][a-z0-9_.-]*(:[1-9][0-9]*)?$"


class SettingsError(Exception):
    """The environment does not describe a set-up that can run; the message names the variable and the remedy."""


class LogColour(StrEnum):
    """When log lines are coloured."""

    AUTO = "auto"
    """On a terminal only."""
    ALWAYS = "always"
    NEVER = "never"


class _PerChain(PydanticBaseSettingsSource):
    """``FLAGPOST_NODES_TRON=…`` is entry ``tron`` of ``nodes``; likewise API keys and treasuries."""

    PREFIXES: Mapping[str, str] = {
        "nodes": "FLAGPOST_NODES_",
        "api_keys": "FLAGPOST_API_KEYS_",
        "treasury": "FLAGPOST_TREASURY_",
    }

    def __init__(self, settings_cls: type[BaseSettings], environment: Mapping[str, str]) -> None:
        super().__init__(settings_cls)
        self.environment = environment

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        """Unused by ``__call__``; the base class demands it."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if "FLAGPOST_TREASURY" in self.environment:
            found["treasury"] = _json_object("FLAGPOST_TREASURY", self.environment["FLAGPOST_TREASURY"])
        for field, prefix in self.PREFIXES.items():
            for variable, value in self.environment.items():
                if not variable.startswith(prefix) or not value.strip():
                    continue
                chain = variable.removeprefix(prefix).lower().replace("_", "-")
                found.setdefault(field, {})[chain] = _parsed(field, variable, value.strip())
        return found


class Settings(BaseSettings):
    """What one process was told by its environment. Amounts and rules are not here but in the database."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, populate_by_name=True, hide_input_in_errors=True)

    database_url: str | None = Field(default=None, repr=False, validation_alias="DATABASE_URL")
    """None: the embedded server under ``home``. May hold a password: never log it as it is."""
    listen_url: str | None = Field(default=None, repr=False, validation_alias="FLAGPOST_LISTEN_URL")
    """A direct DSN for LISTEN where ``database_url`` goes through a pooler such as PgBouncer."""
    home: Path = Field(default=Path(".flagpost"), validation_alias="FLAGPOST_HOME")
    """Where local state lives: embedded database, simulated network, mnemonic of the demo."""
    treasury: dict[str, str] = {}
    """Pinned treasury address by the end of its variable, which names a network (``bsc``, ``evm-56``); one that is
    absent uses our own derivation index 1 (``pipeline.signing.policy``)."""
    nodes: dict[str, tuple[str | dict[str, Any], ...]] = {}
    """Nodes by chain name, URLs or objects as in ``chains.nodes``; a chain that is absent uses those."""
    api_keys: dict[str, tuple[SecretStr, ...]] = {}
    """Node API keys by chain name; sent only to ``nodes``."""
    log_level: str = Field(default="INFO", validation_alias="FLAGPOST_LOG_LEVEL")
    log_json: bool = Field(default=False, validation_alias="FLAGPOST_LOG_JSON")
    log_colour: LogColour = Field(default=LogColour.AUTO, validation_alias="FLAGPOST_LOG_COLOUR")
    host: str = Field(default="", max_length=253, validation_alias="FLAGPOST_HOST")
    """This host's name in the registry; empty: what the machine says."""
    slot: str | None = Field(default=None, validation_alias="FLAGPOST_SLOT")
    """The slot that this process is to have, such as ``tron-gas-topup-001``; None: the lowest one that is free."""
    managed_by: str | None = Field(default=None, validation_alias="FLAGPOST_MANAGED_BY")
    """The host whose agent started this process, and starts it again; set by the agent."""
    alert_webhook: SecretStr | None = Field(default=None, validation_alias="FLAGPOST_ALERT_WEBHOOK")
    """URL that alerts are posted to (``pipeline.alerts.channels``); it may hold a key, and is shown nowhere."""
    alert_webhook_secret: SecretStr | None = Field(default=None, validation_alias="FLAGPOST_ALERT_WEBHOOK_SECRET")
    """What the webhook is signed with; None: it is not signed."""
    alert_slack: SecretStr | None = Field(default=None, validation_alias="FLAGPOST_ALERT_SLACK")
    """URL of an incoming webhook of Slack, which is a secret as a whole."""
    alert_mail_to: Annotated[tuple[str, ...], NoDecode] = Field(default=(), validation_alias="FLAGPOST_ALERT_MAIL_TO")
    """Addresses that get a mail of each alert, by ``smtp_url``."""
    alert_mail_from: str | None = Field(default=None, validation_alias="FLAGPOST_ALERT_MAIL_FROM")
    """None: the user of ``smtp_url`` if that is an address, else the first of ``alert_mail_to``."""
    smtp_url: SecretStr | None = Field(default=None, validation_alias="FLAGPOST_SMTP_URL")
    """``smtp://user:password@host:587`` (STARTTLS) or ``smtps://user:password@host:465``."""
    worker_type: str | None = Field(default=None, validation_alias="WORKER_TYPE")
    """What ``flagpost worker`` runs, such as ``gas-topup``; ``GAS_TOPUP`` is the same."""
    blockchain: str = Field(default="", validation_alias="BLOCKCHAIN")
    """The chains that ``flagpost worker`` serves, by name with commas between them; empty: all that are active."""

    metrics_host: str = Field(default="127.0.0.1", validation_alias="FLAGPOST_METRICS_HOST")
    """The address at which a worker serves /metrics and /health."""
    metrics_port: int | None = Field(default=9464, ge=0, le=65_535, validation_alias="FLAGPOST_METRICS_PORT")
    """The first port that it tries, of a hundred; 0: any that is free; None (``off``): it serves nothing."""
    lossy_notify: bool = Field(default=False, validation_alias="FLAGPOST_LOSSY_NOTIFY")
    """Ignore every NOTIFY, so that only the timer sweep finds work (a rehearsal of the worst case)."""
    crash_point: str | None = Field(default=None, pattern=CRASH_POINT_PATTERN, validation_alias="FLAGPOST_CRASH_POINT")
    """``name`` or ``name:n``: the process kills itself there, at the n-th passage. For tests only."""
    mnemonic_file: Path | None = Field(default=None, validation_alias="FLAGPOST_MNEMONIC_FILE")
    policy_file: Path | None = Field(default=None, validation_alias="FLAGPOST_POLICY_FILE")
    """What this host may sign (``pipeline.signing.policy``); None: ``policy.toml`` under ``home``, where there is
    one."""
    signing_ledger: Path | None = Field(default=None, validation_alias="FLAGPOST_SIGNING_LEDGER")
    """What was signed in 24 hours, one file for all signing processes of a host; None: ``signed.jsonl`` under
    ``home``."""

    _read_once: Path | None = PrivateAttr(None)

    @classmethod
    def load(cls) -> Self:
        """Read the environment. Passwords of databases are shown in no line of the log from now on. Raises
        SettingsError naming each variable that is malformed."""
        try:
            settings = cls()
        except ValidationError as error:
            raise SettingsError(_explain(error)) from None
        settings.register_secrets()
        return settings

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Values given in code, then the environment with ``.env`` behind it."""
        environment = _environment()
        return init_settings, _Environment(settings_cls, environment), _PerChain(settings_cls, environment)

    @field_validator("database_url", "listen_url")
    @classmethod
    def _is_a_dsn(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("postgresql://", "postgres://")) and "=" not in value:
            raise ValueError("expected postgresql://user:password@host:port/database or a libpq keyword string")
        return value

    @field_validator("alert_webhook", "alert_slack")
    @classmethod
    def _is_a_web_address(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _is_url(value.get_secret_value(), "http", "https"):
            raise ValueError("expected a URL that starts with https:// or http://")
        return value

    @field_validator("smtp_url")
    @classmethod
    def _is_a_mail_server(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _is_url(value.get_secret_value(), "smtp", "smtps"):
            raise ValueError("expected smtp://user:password@host:587 or smtps://user:password@host:465")
        return value

    @field_validator("alert_mail_to", mode="before")
    @classmethod
    def _are_mail_addresses(cls, value: str | tuple[str, ...]) -> tuple[str, ...]:
        addresses = _list_of(value) if isinstance(value, str) else value
        if not all(_MAIL_ADDRESS.fullmatch(address) for address in addresses):
            raise ValueError("expected mail addresses with commas between them")
        return addresses

    @field_validator("home", "mnemonic_file", "policy_file", "signing_ledger")
    @classmethod
    def _is_absolute(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser().absolute()

    @field_validator("worker_type")
    @classmethod
    def _is_as_in_the_registry(cls, value: str | None) -> str | None:
        return None if value is None else value.lower().replace("_", "-")

    @field_validator("metrics_port", mode="before")
    @classmethod
    def _is_a_port_or_off(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value.strip().lower() == "off":
            return None
        if not value.strip().isdecimal() or int(value) > 65_535:
            raise ValueError("expected a port from 0 to 65535 (0: any that is free), or off: no metrics")
        return int(value)

    @field_validator("log_level")
    @classmethod
    def _is_a_level(cls, value: str) -> str:
        levels = ("TRACE", "DEBUG", "INFO", "SUCCESS", "WARNING", "ERROR", "CRITICAL")
        if value.upper() not in levels:
            raise ValueError(f"expected one of {', '.join(levels)}")
        return value.upper()

    @field_validator("nodes")
    @classmethod
    def _are_urls(cls, value: dict[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
        for chain, nodes in value.items():
            for node in nodes:
                url = node.get("url") if isinstance(node, dict) else node
                if not isinstance(url, str) or not url.startswith(("http://", "https://")):
                    raise ValueError(f"nodes of {chain}: each URL starts with http:// or https://")
        return value

    def register_secrets(self) -> None:
        """No log line of this process has a password or an API key out of the environment."""
        for keys in self.api_keys.values():
            for key in keys:
                register_secret(key.get_secret_value())
        for dsn in (self.database_url, self.listen_url):
            register_dsn(dsn or "")
        for secret in (self.alert_webhook, self.alert_slack, self.alert_webhook_secret, self.smtp_url):
            register_secret_address("" if secret is None else secret.get_secret_value())

    @property
    def blockchains(self) -> list[str] | None:
        """The names in BLOCKCHAIN; None: every active chain, which ``all`` says, too."""
        names = [name.lower() for name in _list_of(self.blockchain)]
        return None if names in ([], ["all"]) else names

    @property
    def signing_policy(self) -> Path | None:
        """The policy file to read; None: there is none. One that is named and missing is not overlooked. Raises
        SettingsError where this user cannot see whether there is one."""
        if self.policy_file is not None:
            return self.policy_file
        kept = self.home / "policy.toml"
        try:
            return kept if kept.exists() else None
        except OSError as error:
            raise SettingsError(f"The policy file {kept} cannot be looked for: {error.strerror}") from None

    @property
    def read_once(self) -> Path | None:
        """The file that the mnemonic was read from, if nobody can rely on reading it again: a pipe or the like."""
        return self._read_once

    @property
    def spending_ledger(self) -> Path:
        """Where signed amounts are counted."""
        return self.signing_ledger or self.home / "signed.jsonl"

    def mnemonic(self) -> SecretStr:
        """The mnemonic, read at this moment and kept nowhere: only processes that sign ask for it.

        From FLAGPOST_MNEMONIC, else FLAGPOST_MNEMONIC_FILE, else the file ``mnemonic`` under ``home``. From now on no
        line of the log contains any part of it. Raises SettingsError when there is none, or when others than its owner
        can read the file it stands in. Whether it is a valid BIP39 mnemonic is for ``keys`` to say.
        """
        text = _environment().get("FLAGPOST_MNEMONIC", "")
        if text.strip():
            if not os.environ.get("FLAGPOST_MNEMONIC", "").strip():
                _refuse_if_others_can_read(_env_file())
        else:
            path = self.mnemonic_file or self.home / "mnemonic"
            try:
                _refuse_if_others_can_read(path)
                self._read_once = None if path.is_file() else path
                text = path.read_text(encoding="utf-8")
            except FileNotFoundError:
                raise SettingsError(
                    f"No mnemonic: set FLAGPOST_MNEMONIC, or FLAGPOST_MNEMONIC_FILE, or write it to {path}"
                ) from None
            except (OSError, UnicodeDecodeError) as error:
                raise SettingsError(f"The mnemonic file {path} cannot be read: {error}") from None
            if not text.strip():
                raise SettingsError(f"The mnemonic file {path} is empty")
        words = " ".join(text.split())
        register_mnemonic(words)
        return SecretStr(words)


class _Environment(PydanticBaseSettingsSource):
    """The plain variables: one name, one field.

    Not the library's own source, because that also matches field names without regard to case, and would take
    ``$HOME`` for ``home``.
    """

    def __init__(self, settings_cls: type[BaseSettings], environment: Mapping[str, str]) -> None:
        super().__init__(settings_cls)
        self.environment = environment

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        """The variable of ``field``; the per-chain fields have none."""
        variable = str(field.validation_alias or "")
        return self.environment.get(variable, "").strip() or None, variable, False

    def __call__(self) -> dict[str, Any]:
        found = {}
        for name, field in self.settings_cls.model_fields.items():
            value, variable, _ = self.get_field_value(field, name)
            if value is not None:
                found[variable] = value
        return found


def _is_url(value: str, *schemes: str) -> bool:
    try:
        parts = urlsplit(value)
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _refuse_if_others_can_read(path: Path) -> None:
    """Raises SettingsError for a file with a mnemonic that its group or everybody may open; FileNotFoundError. Pipes
    and sockets are their makers' own."""
    mode = path.stat().st_mode
    # systemd gives a credential to the unit's user by an access control list, whose mask stands in the bits of the
    # group; nobody else can enter the directory.
    credential = path.parent == Path(os.environ.get("CREDENTIALS_DIRECTORY", "/nonexistent"))
    if os.name == "posix" and stat.S_ISREG(mode) and mode & (0o007 if credential else 0o077):
        raise SettingsError(
            f"The mnemonic in {path} can be read by others (mode {stat.S_IMODE(mode):04o}): chmod 600 {path}"
        )


def _env_file() -> Path:
    """``.env``, or another file, or none, by FLAGPOST_ENV_FILE."""
    return Path(os.environ.get("FLAGPOST_ENV_FILE", ENV_FILE))


def _environment() -> dict[str, str]:
    """Variables of the process over those of ``.env``. Raises SettingsError for one that cannot be read."""
    path = _env_file()
    try:
        kept = dotenv_values(path) if path.is_file() else {}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"The file {path} cannot be read: {error}") from None
    return {name: value for name, value in kept.items() if value is not None} | dict(os.environ)


def _list_of(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _parsed(field: str, variable: str, value: str) -> Any:
    """The value of a variable that there is one of for each chain."""
    if field == "treasury":
        return value
    if field == "nodes" and value.startswith(("[", "{")):
        return _nodes(variable, value)
    return _list_of(value)


def _nodes(variable: str, value: str) -> tuple[Any, ...]:
    """Nodes as JSON: a list of URLs and objects, or one object. The value may hold keys and is never shown."""
    form = f'{variable}: expected URLs with commas between them, or JSON such as [{{"url": "https://…", "ws_url": "wss://…"}}]'
    if len(value) > _LONGEST_NODES:  # deeper nesting than this ends the interpreter where its limit was raised
        raise SettingsError(form)
    try:
        parsed = json.loads(value)
    except (json.JSONDecodeError, RecursionError):
        raise SettingsError(form) from None
    nodes = parsed if isinstance(parsed, list) else [parsed]
    if not all(isinstance(node, str | dict) for node in nodes):
        raise SettingsError(form)
    return tuple(nodes)


def _json_object(variable: str, value: str) -> dict[str, str]:
    try:
        parsed = json.loads(value)
    except json.JSONDecodeError as error:
        raise SettingsError(f'{variable} is not JSON such as {{"tron": "T…"}}: {error}') from None
    if not isinstance(parsed, dict) or not all(isinstance(address, str) for address in parsed.values()):
        raise SettingsError(f'{variable}: expected a JSON object of chain name to address, such as {{"tron": "T…"}}')
    return {str(chain).lower(): address for chain, address in parsed.items()}


def _explain(error: ValidationError) -> str:
    """One line a variable; never its value, which may be a secret."""
    lines = []
    for problem in error.errors(include_input=False, include_url=False):
        field = str(problem["loc"][0])
        variable = field if field.isupper() else _PerChain.PREFIXES.get(field, field) + "<CHAIN>"
        lines.append(f"{variable}: {problem['msg'].removeprefix('Value error, ')}")
    return "; ".join(lines)
