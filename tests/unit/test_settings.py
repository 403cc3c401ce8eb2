"""Settings: every variable, malformed values, and what must not be shown."""

import os
from pathlib import Path

import pytest

from pipeline.log import REDACTED, redact
from pipeline.settings import LogColour, Settings, SettingsError
from tests.logs import logging_restored

MNEMONIC = "abandon " * 11 + "about"


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty working directory whose .env counts."""
    monkeypatch.delenv("FLAGPOST_ENV_FILE", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def private(path: Path, content: str | bytes, mode: int = 0o600) -> None:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)


def load(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return Settings.load()


def test_defaults(nowhere: Path) -> None:
    settings = Settings.load()
    assert settings.database_url is None
    assert settings.home == nowhere / ".flagpost"
    assert (settings.treasury, settings.nodes, settings.api_keys) == ({}, {}, {})
    assert (settings.log_level, settings.log_json, settings.log_colour) == ("INFO", False, LogColour.AUTO)
    assert settings.lossy_notify is False
    assert settings.crash_point is None


def test_every_variable(monkeypatch: pytest.MonkeyPatch, nowhere: Path) -> None:
    settings = load(
        monkeypatch,
        DATABASE_URL="postgresql://u:p@h/d",
        FLAGPOST_LISTEN_URL="host=direct dbname=d",
        FLAGPOST_HOME="state",
        FLAGPOST_TREASURY='{"tron": "T1", "bsc": "0x1"}',
        FLAGPOST_TREASURY_BSC="0x2",
        FLAGPOST_NODES_TRON="http://a, https://b ,",
        FLAGPOST_API_KEYS_BSC_TESTNET="k1,k2",
        FLAGPOST_LOG_LEVEL="debug",
        FLAGPOST_LOG_JSON="1",
        FLAGPOST_LOG_COLOUR="always",
        FLAGPOST_LOSSY_NOTIFY="true",
        FLAGPOST_CRASH_POINT="after-sign:3",
    )
    assert (settings.database_url, settings.listen_url) == ("postgresql://u:p@h/d", "host=direct dbname=d")
    assert settings.home == nowhere / "state"
    assert settings.treasury == {"tron": "T1", "bsc": "0x2"}
    assert settings.nodes == {"tron": ("http://a", "https://b")}
    assert [key.get_secret_value() for key in settings.api_keys["bsc-testnet"]] == ["k1", "k2"]
    assert (settings.log_level, settings.log_json, settings.log_colour) == ("DEBUG", True, LogColour.ALWAYS)
    assert settings.lossy_notify is True
    assert settings.crash_point == "after-sign:3"


def test_empty_variables_count_as_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, DATABASE_URL="", FLAGPOST_NODES_TRON=" ", FLAGPOST_LOSSY_NOTIFY="")
    assert (settings.database_url, settings.nodes, settings.lossy_notify) == (None, {}, False)


def test_the_users_home_is_not_ours(monkeypatch: pytest.MonkeyPatch, nowhere: Path) -> None:
    assert load(monkeypatch, HOME="/somewhere", NODES="x", TREASURY="x").home == nowhere / ".flagpost"


def test_dot_env_stands_behind_the_environment(monkeypatch: pytest.MonkeyPatch, nowhere: Path) -> None:
    private(
        nowhere / ".env",
        f"DATABASE_URL=postgresql://file/d\nFLAGPOST_LOG_LEVEL=ERROR\nFLAGPOST_MNEMONIC='{MNEMONIC}'\n",
    )
    settings = load(monkeypatch, FLAGPOST_LOG_LEVEL="WARNING")
    assert (settings.database_url, settings.log_level) == ("postgresql://file/d", "WARNING")
    assert settings.mnemonic().get_secret_value() == MNEMONIC


def test_another_env_file_or_none(monkeypatch: pytest.MonkeyPatch, nowhere: Path) -> None:
    (nowhere / ".env").write_text("DATABASE_URL=postgresql://file/d\n")
    assert load(monkeypatch, FLAGPOST_ENV_FILE="/dev/null").database_url is None


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("DATABASE_URL", "mysql://u:hunter22@h/d", "expected postgresql://"),
        ("FLAGPOST_LISTEN_URL", "hunter22", "expected postgresql://"),
        ("FLAGPOST_TREASURY", "{hunter22", "not JSON"),
        ("FLAGPOST_TREASURY", '["hunter22"]', "chain name to address"),
        ("FLAGPOST_TREASURY", '{"tron": 22}', "chain name to address"),
        ("FLAGPOST_NODES_TRON", "hunter22", "http://"),
        ("FLAGPOST_LOG_LEVEL", "hunter22", "expected one of TRACE, DEBUG"),
        ("FLAGPOST_LOG_JSON", "hunter22", "boolean"),
        ("FLAGPOST_LOG_COLOUR", "hunter22", "'auto', 'always' or 'never'"),
        ("FLAGPOST_LOSSY_NOTIFY", "hunter22", "boolean"),
        ("FLAGPOST_CRASH_POINT", "hunter22:0", "pattern"),
    ],
)
def test_a_malformed_value_names_its_variable_and_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, says: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load(monkeypatch, **{variable: value})
    named = variable.replace("_TRON", "_<CHAIN>")
    assert str(caught.value).startswith(named)
    assert says in str(caught.value)
    assert "hunter22" not in str(caught.value)


def test_all_malformed_variables_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"FLAGPOST_LOG_LEVEL.*FLAGPOST_LOSSY_NOTIFY"):
        load(monkeypatch, FLAGPOST_LOG_LEVEL="loud", FLAGPOST_LOSSY_NOTIFY="perhaps")


def test_secrets_are_not_in_the_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(
        monkeypatch,
        DATABASE_URL="postgresql://u:hunter22@h/d",
        FLAGPOST_LISTEN_URL="postgresql://u:hunter22@h/d",
        FLAGPOST_API_KEYS_TRON="hunter22",
        FLAGPOST_MNEMONIC="hunter22",
    )
    assert "hunter22" not in repr(settings)
    assert "hunter22" not in str(settings)


def test_the_mnemonic_comes_from_the_variable_before_the_file(monkeypatch: pytest.MonkeyPatch, nowhere: Path) -> None:
    settings = Settings(home=nowhere)
    with pytest.raises(SettingsError, match="set FLAGPOST_MNEMONIC, or FLAGPOST_MNEMONIC_FILE, or write it to"):
        settings.mnemonic()
    private(nowhere / "mnemonic", "from  home\n")
    assert settings.mnemonic().get_secret_value() == "from home"
    private(nowhere / "other", "from file\n")
    named = Settings(home=nowhere, mnemonic_file=nowhere / "other")
    assert named.mnemonic().get_secret_value() == "from file"
    monkeypatch.setenv("FLAGPOST_MNEMONIC", f" {MNEMONIC}\n")
    assert named.mnemonic().get_secret_value() == MNEMONIC
    assert "abandon" not in repr(named.mnemonic())


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe"])
def test_a_mnemonic_file_without_words_is_named(nowhere: Path, content: bytes) -> None:
    path = nowhere / "words"
    private(path, content)
    with pytest.raises(SettingsError, match=str(path)):
        Settings(home=nowhere, mnemonic_file=path).mnemonic()


def test_nodes_may_be_objects_as_in_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    one = '{"url": "https://a/{key}", "ws_url": "wss://a/{key}"}'
    settings = load(monkeypatch, FLAGPOST_NODES_BSC=f'[{one}, "https://b"]', FLAGPOST_NODES_TRON='{"url": "http://c"}')
    parsed = {"url": "https://a/{key}", "ws_url": "wss://a/{key}"}
    assert settings.nodes == {"bsc": (parsed, "https://b"), "tron": ({"url": "http://c"},)}


@pytest.mark.parametrize("value", ["[", "[5]", '{"url": "ftp://user:secret@a"}', '[{"ws": "secret"}]', "[" * 100_000])
def test_nodes_that_are_none(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    with pytest.raises(SettingsError, match="FLAGPOST_NODES_") as caught:
        load(monkeypatch, FLAGPOST_NODES_BSC=value)
    assert "secret" not in str(caught.value)


def test_secrets_of_the_environment_stand_in_no_log_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with logging_restored():
        settings = load(
            monkeypatch,
            DATABASE_URL="postgresql://owner:p%40ss%2Fword1@h:5432/d",
            FLAGPOST_LISTEN_URL="host=direct password='another word' user=owner",
            FLAGPOST_API_KEYS_BSC="0f1e2d3c4b5a,ffeeddccbbaa",
            FLAGPOST_MNEMONIC=MNEMONIC,
        )
        settings.mnemonic()
        for secret in ("p%40ss%2Fword1", "p@ss/word1", "another word", "0f1e2d3c4b5a", "ffeeddccbbaa", MNEMONIC):
            assert redact(f"it is {secret}, of h and d") == f"it is {REDACTED}, of h and d"


def test_a_password_that_is_a_name_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or every line about the database would lose words."""
    with logging_restored():
        load(monkeypatch, DATABASE_URL="postgresql://postgres:postgres@postgres/flagpost")
        assert redact("postgres at flagpost") == "postgres at flagpost"


@pytest.mark.parametrize(("mode", "taken"), [(0o400, True), (0o440, True), (0o444, False)])
def test_a_credential_of_systemd_may_show_the_mask_of_its_access_list(
    monkeypatch: pytest.MonkeyPatch, nowhere: Path, mode: int, taken: bool
) -> None:
    """In the bits of the group: only the unit's user can enter the directory."""
    private(nowhere / "mnemonic", MNEMONIC, mode)
    settings = load(monkeypatch, FLAGPOST_MNEMONIC_FILE=str(nowhere / "mnemonic"), CREDENTIALS_DIRECTORY=str(nowhere))
    if taken:
        assert settings.mnemonic().get_secret_value() == MNEMONIC
    else:
        with pytest.raises(SettingsError, match="read by others"):
            settings.mnemonic()


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o602])
def test_a_mnemonic_that_others_can_read_is_refused_with_what_to_do(nowhere: Path, mode: int) -> None:
    path = nowhere / "mnemonic"
    private(path, MNEMONIC, mode)
    with pytest.raises(SettingsError, match=rf"read by others \(mode {mode:04o}\): chmod 600 {path}") as caught:
        Settings(home=nowhere).mnemonic()
    assert "abandon" not in str(caught.value)
    path.chmod(0o400)
    assert Settings(home=nowhere).mnemonic().get_secret_value() == MNEMONIC


def test_an_env_file_with_the_mnemonic_is_judged_alike_and_one_without_is_not(
    monkeypatch: pytest.MonkeyPatch, nowhere: Path
) -> None:
    private(nowhere / ".env", f"FLAGPOST_MNEMONIC='{MNEMONIC}'\n", 0o644)
    with pytest.raises(SettingsError, match=r"chmod 600 \.env"):
        Settings.load().mnemonic()
    assert load(monkeypatch, FLAGPOST_MNEMONIC=MNEMONIC).mnemonic().get_secret_value() == MNEMONIC


def test_a_mnemonic_may_come_through_a_pipe(nowhere: Path) -> None:
    """FLAGPOST_MNEMONIC_FILE=<(pass show flagpost): only this process and its maker have it."""
    read, write = os.pipe()
    os.write(write, MNEMONIC.encode())
    os.close(write)
    path = Path(f"/dev/fd/{read}")
    settings = Settings(home=nowhere, mnemonic_file=path)
    assert settings.read_once is None, "it was not read"
    assert settings.mnemonic().get_secret_value() == MNEMONIC
    assert settings.read_once == path
    os.close(read)
    private(nowhere / "kept", MNEMONIC)
    kept = Settings(home=nowhere, mnemonic_file=nowhere / "kept")
    kept.mnemonic()
    assert kept.read_once is None


def test_channels_of_alerts(monkeypatch: pytest.MonkeyPatch) -> None:
    with logging_restored():
        settings = load(
            monkeypatch,
            FLAGPOST_ALERT_WEBHOOK="https://user:word-of-hook@one.example/hooks/long-path?key=long-key",
            FLAGPOST_ALERT_WEBHOOK_SECRET="signing-secret",
            FLAGPOST_ALERT_SLACK="https://hooks.example/services/T000/B000/long-token",
            FLAGPOST_ALERT_MAIL_TO="ops@example.com, boss@example.com",
            FLAGPOST_ALERT_MAIL_FROM="flagpost@example.com",
            FLAGPOST_SMTP_URL="smtp://ops%40example.com:long%2Fpassword@mail.example:2525",
        )
        assert settings.alert_mail_to == ("ops@example.com", "boss@example.com")
        assert settings.alert_mail_from == "flagpost@example.com"
        for secret in (
            "/hooks/long-path?key=long-key",
            "word-of-hook",
            "signing-secret",
            "/services/T000/B000/long-token",
            "long/password",
            "long%2Fpassword",
        ):
            assert secret not in repr(settings)
            assert redact(f"said {secret} here") == f"said {REDACTED} here"


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("FLAGPOST_ALERT_WEBHOOK", "ftp://one.example/x", "https://"),
        ("FLAGPOST_ALERT_WEBHOOK", "https://:8080/x", "https://"),
        ("FLAGPOST_ALERT_SLACK", "hooks.example/services", "https://"),
        ("FLAGPOST_SMTP_URL", "mail.example:25", "smtp://user:password@host:587"),
        ("FLAGPOST_SMTP_URL", "smtp://mail.example:port", "smtp://user:password@host:587"),
        ("FLAGPOST_ALERT_MAIL_TO", "ops", "mail addresses with commas"),
        ("FLAGPOST_ALERT_MAIL_TO", "Ops <ops@example.com>", "mail addresses with commas"),
    ],
)
def test_a_channel_that_cannot_be(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str) -> None:
    with pytest.raises(SettingsError, match=variable) as refused:
        load(monkeypatch, **{variable: value})
    assert said in str(refused.value)
    assert value not in str(refused.value)


@pytest.mark.parametrize("port", ["abc", "65536", "-1", "9464.0"])
def test_a_port_of_metrics_that_is_none_is_refused_with_what_is_one(monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    with pytest.raises(SettingsError, match=r"FLAGPOST_METRICS_PORT: expected a port from 0 to 65535 .*, or off"):
        load(monkeypatch, FLAGPOST_METRICS_PORT=port)


@pytest.mark.parametrize(("given", "port"), [("off", None), ("0", 0), (" 9500 ", 9500)])
def test_a_port_of_metrics(monkeypatch: pytest.MonkeyPatch, given: str, port: int | None) -> None:
    assert load(monkeypatch, FLAGPOST_METRICS_PORT=given).metrics_port == port
