"""inbox.toml and the environment: what is read, and that every problem names file, key and what is allowed."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

import pytest

from inbox.core.config.settings import (
    InboxSettings,
    ServerSettings,
    Settings,
    SourceSettings,
    WorkerSettings,
    bind,
    load,
    locate,
    resolve,
)
from inbox.core.errors import ConfigError
from inbox.core.models import Secret

PLAIN = "hunter2-the-secret"
"""A secret that must not be in any message."""


def settings(folder: Path, text: str, **environ: str) -> Settings:
    """Return what an inbox.toml of this text means."""
    path = folder / "inbox.toml"
    path.write_text(text, encoding="utf-8")
    return load(path, environ)


def problem(folder: Path, text: str, **environ: str) -> str:
    """Return why an inbox.toml of this text is refused."""
    with pytest.raises(ConfigError) as caught:
        settings(folder, text, **environ)
    assert str(caught.value) == f"{caught.value.where}: {caught.value.problem}"
    assert PLAIN not in str(caught.value)
    return str(caught.value)


def source(folder: Path, text: str, **environ: str) -> SourceSettings:
    """Return the source `x` with these settings."""
    return settings(folder, f'[sources.x]\nprovider = "p"\n{text}', **environ).sources["x"]


def source_problem(folder: Path, text: str, **environ: str) -> str:
    """Return why a source `x` with these settings is refused."""
    return problem(folder, f'[sources.x]\nprovider = "p"\n{text}', **environ)


def test_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    """Every setting has a default, and there are no sources."""
    assert settings(tmp_path, "") == Settings(folder=tmp_path)


def test_every_table_is_read(tmp_path: Path) -> None:
    """All four tables arrive, and whole numbers serve as seconds."""
    text = """
        [inbox]
        handlers = "mine"
        [server]
        port = 9000
        store_timeout = 2
        [worker]
        processes = 3
        [sources.door]
        provider = "roomz"
        secrets = ["env:A", "env:B"]
        header = "X"
        dedupe_for = 60
    """
    read = settings(tmp_path, text, A="1", B="2")
    assert read == Settings(
        folder=tmp_path,
        inbox=InboxSettings(handlers="mine"),
        server=ServerSettings(port=9000, store_timeout=2.0),
        worker=WorkerSettings(processes=3),
        sources={
            "door": SourceSettings("door", "roomz", (Secret("1"), Secret("2")), {"header": "X", "dedupe_for": 60})
        },
    )
    assert type(read.server.store_timeout) is float


def test_paths_start_at_the_folder_of_the_file(tmp_path: Path) -> None:
    """A relative path means the same from every working directory; an absolute one stays."""
    read = settings(tmp_path, '[inbox]\ndatabase = "sqlite:///data/in.db"')
    assert read.database == tmp_path / "data/in.db"
    assert read.path("schemas") == tmp_path / "schemas"
    assert settings(tmp_path, f'[inbox]\ndatabase = "sqlite:///{tmp_path}/in.db"').database == tmp_path / "in.db"


def test_file_is_located_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """INBOX_CONFIG names the file, else it is in the working directory; the path is absolute in both cases."""
    monkeypatch.chdir(tmp_path)
    assert locate({}) == locate({"INBOX_CONFIG": ""}) == tmp_path / "inbox.toml"
    assert locate({"INBOX_CONFIG": "other.toml"}) == tmp_path / "other.toml"


def test_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    """A file that is not there is named with its path, and with the command that writes one."""
    with pytest.raises(ConfigError, match="inbox init") as caught:
        load(tmp_path / "inbox.toml", {})
    assert caught.value.where == str(tmp_path / "inbox.toml")


def test_unreadable_file_is_an_error(tmp_path: Path) -> None:
    """A folder in the place of the file is an ordinary configuration error."""
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path, {})


@pytest.mark.parametrize("text", ["[inbox", "a = ", '[inbox]\nport = 1\nport = 2\nx = "' + PLAIN])
def test_broken_toml_is_an_error(tmp_path: Path, text: str) -> None:
    """What is not TOML says where, and does not repeat the line."""
    assert problem(tmp_path, text).startswith("inbox.toml: not valid TOML: ")


@pytest.mark.parametrize("bind", ["localhost:8001", "127.0.0.1", ":8001", "::1:8001", "127.0.0.1:0", "a@127.0.0.1:1"])
def test_pages_are_bound_to_an_address_and_a_port(tmp_path: Path, bind: str) -> None:
    """No name, which may be several addresses, and no gap."""
    expected = f"inbox.toml: admin.bind: {bind!r} is not IP:PORT, as in 127.0.0.1:8001"
    assert expected == problem(tmp_path, f'[admin]\nbind = "{bind}"')
    assert ("::1", 8001) == settings(tmp_path, '[admin]\nbind = "[::1]:8001"').admin.address


@pytest.mark.parametrize(
    ("host", "bind"),
    [("127.0.0.1", "127.0.0.1"), ("127.0.0.1", "0.0.0.0"), ("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "[::]")],
)
def test_pages_cannot_take_the_receivers_port(tmp_path: Path, host: str, bind: str) -> None:
    """Nor as one of all addresses: whoever came second could not listen, and that could be the receiver."""
    text = f'[server]\nhost = "{host}"\nport = 9000\n[admin]\nbind = "{bind}:%d"'
    assert "that is the receiver's own address" in problem(tmp_path, text % 9000)
    assert 9001 == settings(tmp_path, text % 9001).admin.address[1]


def test_other_encoding_is_an_error(tmp_path: Path) -> None:
    """A file that is not UTF-8 is an ordinary configuration error."""
    (tmp_path / "inbox.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load(tmp_path / "inbox.toml", {})


def test_unknown_table_names_the_known_ones(tmp_path: Path) -> None:
    """A misspelled table is named with all that exist."""
    found = problem(tmp_path, "[source.x]")
    assert (
        found == "inbox.toml: source: unknown table; "
        "allowed: inbox, server, worker, retention, alarms, search, admin, sources"
    )


@pytest.mark.parametrize(
    ("table", "cls"), [("inbox", InboxSettings), ("server", ServerSettings), ("worker", WorkerSettings)]
)
def test_unknown_setting_names_the_known_ones(tmp_path: Path, table: str, cls: type) -> None:
    """A misspelled setting is named with all that exist."""
    allowed = ", ".join(sorted(item.name for item in fields(cls)))
    found = problem(tmp_path, f"[{table}]\ncolour = 1")
    assert found == f"inbox.toml: {table}.colour: unknown setting; allowed: {allowed}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[server]\nport = "80"', "inbox.toml: server.port: must be a whole number"),
        ("[server]\nport = true", "inbox.toml: server.port: must be a whole number"),
        ("[server]\nport = 80.0", "inbox.toml: server.port: must be a whole number"),
        ("[server]\nhost = 1", "inbox.toml: server.host: must be text"),
        ('[server]\nstore_timeout = "1"', "inbox.toml: server.store_timeout: must be a number"),
        ("[worker]\nlease = true", "inbox.toml: worker.lease: must be a number"),
        ("server = 1", "inbox.toml: server: must be a table, as in [server]"),
        ("sources = []", "inbox.toml: sources: must be a table, as in [sources]"),
        ("[sources]\nx = 1", "inbox.toml: sources.x: must be a table, as in [sources.x]"),
        ('[sources]\nx = "hunter2-the-secret"', "inbox.toml: sources.x: must be a table, as in [sources.x]"),
    ],
)
def test_wrong_type_names_the_right_one(tmp_path: Path, text: str, expected: str) -> None:
    """A value of another type is named with the type that is meant; true is not a number."""
    assert problem(tmp_path, text) == expected


RANGES = [
    ("server.port", 1, 65535),
    ("server.threads", 1, 256),
    ("server.max_connections", 1, 65536),
    ("server.body_timeout", 0.1, 3600),
    ("server.trusted_proxies", 0, 10),
    ("server.store_timeout", 0.1, 60),
    ("server.unresponsive_after", 0, 3600),
    ("server.max_in_flight", 1, 100_000),
    ("server.max_in_flight_bytes", 1_048_576, 2**34),
    ("inbox.min_free_bytes", 0, 2**50),
    ("inbox.max_store_bytes", 0, 2**50),
    ("worker.processes", 1, 64),
    ("worker.lease", 0.5, 3600),
    ("worker.kill_after", 0.1, 600),
    ("worker.max_crashes", 1, 100),
    ("worker.max_runs", 0, 2**31),
    ("worker.max_memory", 0, 2**50),
    ("worker.shutdown_timeout", 0, 3600),
]


@pytest.mark.parametrize(("key", "low", "high"), RANGES)
def test_range_is_checked(tmp_path: Path, key: str, low: float, high: float) -> None:
    """Both ends are allowed, and what is beyond them is named with them."""
    table, _, name = key.partition(".")
    for value in (low, high):
        settings(tmp_path, f"[{table}]\n{name} = {value}")
    for value in (low - 1, high + 1):
        found = problem(tmp_path, f"[{table}]\n{name} = {value}")
        assert found.startswith(f"inbox.toml: {key}: {value}")
        assert found.endswith(f" is out of range; allowed: {low} to {high}")


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_no_number_is_out_of_range(tmp_path: Path, value: str) -> None:
    """TOML knows nan and inf, and neither is a number of seconds."""
    assert "out of range" in problem(tmp_path, f"[worker]\nlease = {value}")


@pytest.mark.parametrize(
    "setting", ["[worker]\nlease", "[worker]\nprocesses", "[alarms]\ndeadline", "[retention]\npause"]
)
@pytest.mark.parametrize("value", ["1" + 400 * "0", "-1" + 400 * "0", "0x" + 5000 * "f"])
def test_number_that_fits_nowhere_is_out_of_range(tmp_path: Path, setting: str, value: str) -> None:
    """TOML has whole numbers of any size; no float and no column of the store does."""
    found = problem(tmp_path, f"{setting} = {value}")
    assert found.endswith(" is out of range; allowed: -9007199254740992 to 9007199254740992")


@pytest.mark.parametrize("text", [f"x = {'1' * 5000}", f"x = {'[' * 5000}"])
def test_what_python_does_not_read_is_no_toml(tmp_path: Path, text: str) -> None:
    """A number with too many digits, lists too deep in lists: one line, no traceback."""
    assert problem(tmp_path, text).startswith("inbox.toml: not valid TOML: ")


def test_every_number_has_a_range() -> None:
    """A numeric setting without a range is a mistake, here or in the configuration."""
    numeric = {
        f"{table}.{item.name}"
        for table, cls in (("inbox", InboxSettings), ("server", ServerSettings), ("worker", WorkerSettings))
        for item in fields(cls)
        if type(item.default) in (int, float)
    }
    assert numeric == {key for key, _, _ in RANGES}


@pytest.mark.parametrize("database", ["inbox.db", "postgres://host/db", "sqlite:inbox.db", "sqlite:///", ""])
def test_other_database_is_an_error(tmp_path: Path, database: str) -> None:
    """A database is sqlite:///PATH with a path."""
    found = problem(tmp_path, f'[inbox]\ndatabase = "{database}"')
    assert found == "inbox.toml: inbox.database: allowed: sqlite:///PATH"


@pytest.mark.parametrize("key", ["tls_cert", "tls_key"])
def test_half_of_tls_is_an_error(tmp_path: Path, key: str) -> None:
    """A certificate without its key, or the reverse, does not start without TLS."""
    found = problem(tmp_path, f'[server]\n{key} = "x.pem"')
    assert found == "inbox.toml: server.tls_cert, server.tls_key: both or neither"
    both = settings(tmp_path, '[server]\ntls_cert = "c.pem"\ntls_key = "k.pem"').server
    assert (both.tls_cert, both.tls_key) == ("c.pem", "k.pem")


@pytest.mark.parametrize("name", ["door", "door-2", "Door_2", "7"])
def test_source_name_is_part_of_an_address(tmp_path: Path, name: str) -> None:
    """Letters, digits, - and _ need no escaping in a URL."""
    assert list(settings(tmp_path, f'[sources.{name}]\nprovider = "p"').sources) == [name]


@pytest.mark.parametrize("name", ["", "a b", "a/b", "ü", "a.b", "../x", "a%20"])
def test_other_source_name_is_an_error(tmp_path: Path, name: str) -> None:
    """A name that would need escaping is refused with what is allowed."""
    found = problem(tmp_path, f'[sources."{name}"]\nprovider = "p"')
    assert found.startswith(f"inbox.toml: sources.{name}: ")
    assert found.endswith("allowed: letters, digits, - and _")


@pytest.mark.parametrize("text", ["", 'provider = ""', "provider = 1", "provider = []"])
def test_source_needs_a_provider(tmp_path: Path, text: str) -> None:
    """A source without a provider says where the names are."""
    found = problem(tmp_path, f"[sources.x]\n{text}")
    assert found == "inbox.toml: sources.x.provider: missing; `inbox sources --providers` lists what is allowed"


def test_secret_comes_from_the_environment(tmp_path: Path) -> None:
    """`env:NAME` is the value of the variable, byte by byte."""
    read = source(tmp_path, 'secrets = ["env:A", "env:B"]', A=" spaced ", B="ü\udcff")
    assert [secret.reveal() for secret in read.secrets] == [b" spaced ", "ü".encode() + b"\xff"]


def test_secret_comes_from_a_file(tmp_path: Path) -> None:
    """`file:PATH` is the content of the file, from the folder of inbox.toml, without its final line break."""
    (tmp_path / "one").write_bytes(b" bytes\xff \r\n")
    (tmp_path / "two").write_bytes(b"first\nsecond")
    read = source(tmp_path, f'secrets = ["file:one", "file:{tmp_path}/two"]')
    assert [secret.reveal() for secret in read.secrets] == [b" bytes\xff ", b"first\nsecond"]


def test_env_file_is_read_letter_by_letter(tmp_path: Path) -> None:
    """`.env` beside inbox.toml gives secrets; a `${` in one is not replaced, and a name without value is none."""
    (tmp_path / ".env").write_text("A='a${HOME}b'\nexport B=\"c $d\"  # note\nC\n", encoding="utf-8")
    read = source(tmp_path, 'secrets = ["env:A", "env:B"]', HOME="h")
    assert [secret.reveal() for secret in read.secrets] == [b"a${HOME}b", b"c $d"]
    assert "env:C is missing" in source_problem(tmp_path, 'secrets = ["env:C"]')


def test_environment_wins_over_env_file(tmp_path: Path) -> None:
    """What the process was given counts more than the file."""
    (tmp_path / ".env").write_text("A=file\nB=file\n", encoding="utf-8")
    read = source(tmp_path, 'secrets = ["env:A", "env:B"]', A="process")
    assert [secret.reveal() for secret in read.secrets] == [b"process", b"file"]


def test_process_environment_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a mapping `load` reads the environment of the process, and writes nothing into it."""
    (tmp_path / ".env").write_text("B=file\n", encoding="utf-8")
    (tmp_path / "inbox.toml").write_text('[sources.x]\nprovider = "p"\nsecrets = ["env:A", "env:B"]', encoding="utf-8")
    monkeypatch.setenv("A", "process")
    monkeypatch.delenv("B", raising=False)
    for _ in range(2):
        secrets = load(tmp_path / "inbox.toml").sources["x"].secrets
        assert [secret.reveal() for secret in secrets] == [b"process", b"file"]
        monkeypatch.setenv("A", "process")


def test_unreadable_env_file_is_an_error(tmp_path: Path) -> None:
    """A `.env` that cannot be read, or is not UTF-8, is an ordinary configuration error."""
    (tmp_path / ".env").write_bytes(b"A=\xff" + PLAIN.encode())
    assert problem(tmp_path, "") == ".env: not UTF-8"
    (tmp_path / ".env").unlink()
    (tmp_path / ".env").mkdir()
    assert problem(tmp_path, "") == ".env: cannot be read: Is a directory"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f'secrets = ["{PLAIN}"]', "secrets: a secret is named, never written here; allowed: env:NAME, file:PATH"),
        (f'secrets = ["ENV:{PLAIN}"]', "secrets: a secret is named, never written here; allowed: env:NAME, file:PATH"),
        ("secrets = [1]", "secrets: a secret is named, never written here; allowed: env:NAME, file:PATH"),
        ("secrets = [[]]", "secrets: a secret is named, never written here; allowed: env:NAME, file:PATH"),
        (f'secrets = "{PLAIN}"', 'secrets: must be a list such as ["env:NAME"]'),
        ('secrets = "env:A"', 'secrets: must be a list such as ["env:NAME"]'),
        ('secrets = ["env:NONE"]', "secrets: env:NONE is missing or empty; set it in the environment, in .env"),
        ('secrets = ["env:"]', "secrets: env: is missing or empty"),
        ('secrets = ["env:EMPTY"]', "secrets: env:EMPTY is missing or empty"),
        ('secrets = ["env:BLANK"]', "secrets: env:BLANK is missing or empty"),
        ('secrets = ["env:A", "env:EMPTY"]', "secrets: env:EMPTY is missing or empty"),
        ('secrets = ["file:empty"]', "secrets: file:empty is missing or empty"),
        ('secrets = ["file:none"]', "secrets: file:none cannot be read: No such file or directory"),
        ('secrets = ["file:"]', "secrets: file: cannot be read: Is a directory"),
        ('secrets = ["file:a\\u0000b"]', "secrets: file:PATH names no file"),
        ('api_key = "env:NONE"', "api_key: env:NONE is missing or empty"),
        ('api_key = "file:none"', "api_key: file:none cannot be read"),
    ],
)
def test_unusable_secret_is_an_error(tmp_path: Path, text: str, expected: str) -> None:
    """A secret that is written out, missing or empty is named by its key and reference, and never shown."""
    (tmp_path / "empty").write_bytes(b" \r\n")
    found = source_problem(tmp_path, text, A=PLAIN, EMPTY="", BLANK=" \t")
    assert found.startswith(f"inbox.toml: sources.x.{expected}")


def test_settings_of_a_provider_may_name_secrets(tmp_path: Path) -> None:
    """A reference in any setting is resolved; other values stay as they are."""
    read = source(tmp_path, 'api_key = "env:A"\nheader = "X"\nlist = ["env:A"]\nnumber = 1', A="a")
    assert read.options == {"api_key": Secret("a"), "header": "X", "list": ["env:A"], "number": 1}


def test_settings_never_show_a_secret(tmp_path: Path) -> None:
    """Neither repr nor str of the whole configuration holds a secret."""
    read = settings(tmp_path, '[sources.x]\nprovider = "p"\nsecrets = ["env:A"]\nkey = "env:A"', A=PLAIN)
    assert PLAIN not in f"{read!r} {read}"
    assert "Secret(…)" in repr(read)


def test_resolve_names_the_place(tmp_path: Path) -> None:
    """`resolve` alone raises with the place that it was given."""
    assert resolve("env:A", "here", tmp_path, {"A": "a"}) == Secret("a")
    with pytest.raises(ConfigError, match="here: a secret is named"):
        resolve(None, "here", tmp_path, {})


WRITTEN = "a secret is named, never written here; allowed: env:NAME, file:PATH"
KNOWN = "choice, choices, count, flag, key, keys, names, needed, number"


@dataclass(frozen=True, kw_only=True)
class Example:
    """One setting of each kind."""

    needed: str
    number: float = 1.0
    count: int = 1
    flag: bool = False
    names: tuple[str, ...] = ()
    choice: Literal["a", "b"] = "a"
    key: Secret | None = None
    keys: tuple[Secret, ...] = ()
    choices: tuple[Literal["a", "b"], ...] = ()


def test_bind_fills_every_kind_of_setting() -> None:
    """Lists become tuples, a single text serves as a list, whole numbers as numbers."""
    table = {"needed": "n", "number": 2, "count": 3, "flag": True, "names": ["x", "y"], "choice": "b"}
    secrets = {"key": Secret("k"), "keys": [Secret("k")]}
    bound = bind(Example, {**table, **secrets, "choices": ["b"]}, "here")
    expected = Example(
        needed="n", number=2.0, count=3, flag=True, names=("x", "y"), choice="b", key=Secret("k"), keys=(Secret("k"),),
        choices=("b",),
    )  # fmt: skip
    assert bound == expected
    assert bind(Example, {"needed": "n", "names": "x"}, "here") == replace(Example(needed="n"), names=("x",))


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({}, "here.needed: missing"),
        ({"needed": "n", "colour": 1}, f"here.colour: unknown setting; allowed: {KNOWN}"),
        ({"needed": 1}, "here.needed: must be text"),
        ({"needed": Secret(PLAIN)}, "here.needed: must be text"),
        ({"needed": "n", "number": "1"}, "here.number: must be a number"),
        ({"needed": "n", "count": 1.0}, "here.count: must be a whole number"),
        ({"needed": "n", "flag": 1}, "here.flag: must be true or false"),
        ({"needed": "n", "names": 1}, "here.names: must be a list"),
        ({"needed": "n", "names": [1]}, "here.names: must be text"),
        ({"needed": "n", "choice": "c"}, "here.choice: 'c' is not known; allowed: 'a', 'b'"),
        ({"needed": "n", "choice": Secret(PLAIN)}, "here.choice: Secret(…) is not known; allowed: 'a', 'b'"),
        ({"needed": "n", "choices": ["c"]}, "here.choices: 'c' is not known; allowed: 'a', 'b'"),
        ({"needed": "n", "key": PLAIN}, f"here.key: {WRITTEN}"),
        ({"needed": "n", "keys": [PLAIN]}, f"here.keys: {WRITTEN}"),
    ],
)
def test_bind_names_what_does_not_fit(table: dict[str, object], expected: str) -> None:
    """Gaps, unknown settings and wrong types are named with the place and what is allowed."""
    with pytest.raises(ConfigError) as caught:
        bind(Example, table, "here")
    assert str(caught.value) == expected
