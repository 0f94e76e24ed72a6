"""`inbox init` and `inbox check`: from an empty folder to a configuration that works."""

import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.conftest import PROJECT

WRITTEN = (".env", "app.py", "handlers", "inbox.toml", "schemas")
PLAIN = "hunter2-the-secret"
"""A secret that must not be printed."""


def tree(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder and what is in them."""
    paths = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def secrets(folder: Path) -> dict[str, str]:
    """Return what .env sets."""
    lines = (folder / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli) -> Path:
    """A folder after `inbox init`, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    cli("init")
    return tmp_path


def test_init_writes_everything_into_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
    """The five things the design names, each announced, and what to do next."""
    monkeypatch.chdir(tmp_path)
    printed = cli("init").stdout
    assert list(WRITTEN) == sorted(path.name for path in tmp_path.iterdir())
    assert set(WRITTEN) == set(re.findall(r"^written  (\S+)$", printed, re.MULTILINE))
    assert "Now `inbox run`, then `inbox send roomz`.\n" == printed.splitlines(keepends=True)[-1]


def test_init_lays_down_the_repository_s_own_files(made: Path) -> None:
    """handlers/, schemas/ and app.py are the same bytes."""
    for name in ("handlers", "schemas"):
        assert tree(PROJECT / name) == tree(made / name)
    assert (PROJECT / "app.py").read_bytes() == (made / "app.py").read_bytes()


def test_init_makes_a_secret_for_every_reference_and_none_besides(made: Path) -> None:
    """What inbox.toml names is in .env, random, different, 32 bytes at most; commented examples have none."""
    settings = [line for line in (made / "inbox.toml").read_text().splitlines() if not line.startswith("#")]
    named = re.findall(r'"env:(\w+)"', "\n".join(line.partition(" #")[0] for line in settings))
    found = secrets(made)
    assert sorted(named) == sorted(found)
    assert len(found) == len(set(found.values()))
    assert all(re.fullmatch("[0-9a-f]{32}", value) for value in found.values())


def test_init_never_writes_the_same_secret_twice(tmp_path: Path, cli: Cli) -> None:
    """Two inboxes have nothing in common."""
    cli("init", str(tmp_path / "one"))
    cli("init", str(tmp_path / "two"))
    assert not set(secrets(tmp_path / "one").values()) & set(secrets(tmp_path / "two").values())


def test_init_keeps_secrets_from_others(made: Path) -> None:
    """.env is for its owner; the rest can be read by the user that runs the service."""
    modes = {name: stat.S_IMODE((made / name).stat().st_mode) for name in WRITTEN}
    assert {".env": 0o600, "inbox.toml": 0o644, "app.py": 0o644, "handlers": 0o755, "schemas": 0o755} == modes


@pytest.mark.parametrize("name", WRITTEN)
def test_init_never_overwrites(name: str, tmp_path: Path, cli: Cli) -> None:
    """Whichever is there already stays byte for byte, and the others are written."""
    own = tmp_path / name / "own.txt" if name in ("handlers", "schemas") else tmp_path / name
    own.parent.mkdir(exist_ok=True)
    own.write_bytes(b"\xffmine\r\n")
    printed = cli("init", str(tmp_path)).stdout
    assert b"\xffmine\r\n" == own.read_bytes()
    assert own == tmp_path / name or [own] == list((tmp_path / name).rglob("*"))
    assert [f"kept     {tmp_path / name}"] == [line for line in printed.splitlines() if line.startswith("kept")]
    assert set(WRITTEN) == {path.name for path in tmp_path.iterdir()}


def test_a_second_init_keeps_everything(made: Path, cli: Cli) -> None:
    """Nothing changes, and it says so."""
    before = tree(made)
    printed = cli("init").stdout
    assert (before, 5, 0) == (tree(made), printed.count("kept "), printed.count("written "))


def test_init_makes_the_directory_it_is_given(tmp_path: Path, cli: Cli) -> None:
    """Also several levels deep; then it says where to go."""
    target = tmp_path / "a" / "b"
    assert f"Now `inbox run` in {target}, then" in cli("init", str(target)).stdout
    assert set(WRITTEN) == {path.name for path in target.iterdir()}


def test_check_finds_nothing_wrong_after_init(made: Path, cli: Cli) -> None:
    """What init writes works as it is."""
    result = cli("check")
    assert re.fullmatch(r"7 sources, \d+ handlers: nothing is wrong\n", result.stdout)
    assert not [line for line in result.stderr.splitlines() if line.startswith("inbox:")]


def test_the_installed_wheel_works_in_an_empty_folder(tmp_path: Path) -> None:
    """Built, installed into a fresh environment, without the checkout: init, check, and the same files."""
    build = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", tmp_path, PROJECT]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, *build], check=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(tmp_path / "env")}))
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", "--target", packages, wheel], check=True)
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    folder = tmp_path / "empty"
    folder.mkdir()
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("INBOX_", "PYTHON", "COV"))}

    def run(*command: str) -> str:
        python = tmp_path / "env" / "bin" / "python"
        done = subprocess.run(
            [python, "-P", *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=60
        )
        assert 0 == done.returncode, done.stderr
        return done.stdout

    assert f"{packages / 'inbox' / '__init__.py'}\n" == run("-c", "import inbox; print(inbox.__file__)")
    run("-m", "inbox", "init")
    assert "nothing is wrong" in run("-m", "inbox", "check")
    for name in ("handlers", "schemas"):
        assert tree(PROJECT / name) == tree(folder / name)
    assert (PROJECT / "app.py").read_bytes() == (folder / "app.py").read_bytes()
    for path in ("py.typed", "ui/api/openapi.toml"):
        assert (packages / "inbox" / path).is_file()


def change(old: str, new: str) -> Callable[[Path], None]:
    """Return what replaces a part of inbox.toml."""

    def apply(folder: Path) -> None:
        text = (folder / "inbox.toml").read_text()
        assert old in text
        (folder / "inbox.toml").write_text(text.replace(old, new, 1))

    return apply


def write(name: str, text: str) -> Callable[[Path], None]:
    """Return what writes a file."""

    def apply(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)

    return apply


def forget(variable: str) -> Callable[[Path], None]:
    """Return what takes a secret out of .env."""
    return lambda folder: (folder / ".env").write_text(
        re.sub(f"^{variable}=.*$", "", (folder / ".env").read_text(), flags=re.MULTILINE)
    )


def remove(name: str) -> Callable[[Path], None]:
    """Return what deletes a folder."""
    return lambda folder: shutil.rmtree(folder / name)


SECRET_LINE = 'secrets  = ["env:ROOMZ_WEBHOOK_SECRET"]'
WRONG = {
    "unknown key": (change("[server]", "[server]\nprot = 1"), ["inbox.toml: server.prot", "unknown setting", "port"]),
    "unknown table": (change("[server]", "[sevrer]"), ["inbox.toml: sevrer", "unknown table", "server"]),
    "unknown key of a source": (
        change(SECRET_LINE, f"{SECRET_LINE}\nsecret = 1"),
        ["inbox.toml: sources.roomz.secret", "unknown setting", "secrets"],
    ),
    "missing secret": (
        forget("ROOMZ_WEBHOOK_SECRET"),
        ["inbox.toml: sources.roomz.secrets", "env:ROOMZ_WEBHOOK_SECRET is missing or empty", ".env"],
    ),
    "secret in the clear": (
        change("env:ROOMZ_WEBHOOK_SECRET", PLAIN),
        ["inbox.toml: sources.roomz.secrets", "never written here", "env:NAME, file:PATH"],
    ),
    "no secrets": (change(SECRET_LINE, ""), ["inbox.toml: sources.roomz", "secrets is missing", '["env:NAME"]']),
    "unknown provider": (
        change('provider = "roomz"', 'provider = "rooms"'),
        ["inbox.toml: sources.roomz.provider", "'rooms' is unknown", "roomz", "hmac", "unsigned"],
    ),
    "broken schema": (
        write("schemas/roomz/default.json", '{"type": "objekt"}'),
        ["schemas/roomz/default.json", "not a valid schema at /type", "objekt"],
    ),
    "schema that is not JSON": (write("schemas/roomz/default.json", "{"), ["schemas/roomz/default.json"]),
    "broken handler": (write("handlers/bad.py", "1/0"), ["handlers: bad", "ZeroDivisionError: division by zero"]),
    "missing handlers": (remove("handlers"), ["inbox.toml: inbox.handlers", "handlers is not a folder"]),
    "missing schemas": (remove("schemas"), ["inbox.toml: inbox.schemas", "schemas is not a folder"]),
    "bad TOML": (change("[server]", "[server"), ["inbox.toml: not valid TOML", "line"]),
    "range": (change("[server]", "[server]\nport = 70000"), ["inbox.toml: server.port", "70000", "1 to 65535"]),
    "type": (change("[worker]", '[worker]\nprocesses = "2"'), ["inbox.toml: worker.processes", "a whole number"]),
    "host name": (
        change("[server]", '[server]\nhost = "localhost"'),
        ["inbox.toml: server.host", "'localhost' is not an IP address", "127.0.0.1"],
    ),
    "foreign address": (
        change("[server]", '[server]\nhost = "192.0.2.1"'),
        ["inbox.toml: server.host, server.port", "cannot listen on 192.0.2.1:8000"],
    ),
    "missing certificate": (
        change("[server]", '[server]\ntls_cert = "c.pem"\ntls_key = "k.pem"'),
        ["inbox.toml: server.tls_cert", "c.pem cannot be read", "No such file"],
    ),
    "no folder for the database": (
        change("[inbox]", '[inbox]\ndatabase = "sqlite:///gone/inbox.db"'),
        ["the folder of the database does not exist"],
    ),
    "another program's database": (write("inbox.db", "text" * 1000), ["database"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_check_says_in_one_line_what_is_wrong_and_what_is_allowed(case: str, made: Path, cli: Cli) -> None:
    """Exit code 1, and file, key and allowed values in a line of their own; no secret."""
    break_it, told = WRONG[case]
    before = secrets(made)
    break_it(made)
    result = cli("check", code=1)
    problems = [line for line in result.stderr.splitlines() if line.startswith("inbox: ")]
    assert [] == [word for word in told if word not in problems[0]], problems
    assert (1, "") == (len(problems), result.stdout)
    assert not [value for value in (PLAIN, *before.values()) if value in result.output]
    assert "Traceback" not in result.output


def test_check_reports_several_problems_at_once(made: Path, cli: Cli) -> None:
    """Two sources, the schemas and a handler: four lines."""
    change('provider = "roomz"', 'provider = "rooms"')(made)
    change('provider = "lemlist"', 'provider = "lemmist"')(made)
    write("schemas/roomz/default.json", "{")(made)
    write("handlers/bad.py", "def")(made)
    lines = cli("check", code=1).stderr.splitlines()
    found = [line for line in lines if line.startswith("inbox: ")]
    assert 4 == len(found)
    for told, line in zip(("sources.roomz", "sources.lemlist", "default.json", "handlers: bad"), found, strict=True):
        assert told in line


def test_check_warns_of_what_is_allowed_but_not_wise(made: Path, cli: Cli) -> None:
    """A warning alone is no failure."""
    with (made / "inbox.toml").open("a") as file:
        file.write('\n[sources.open]\nprovider = "unsigned"\n')
    result = cli("check")
    assert "warning: inbox.toml: sources.open: whoever knows the address can send events" in result.stderr
    assert "8 sources" in result.stdout


def test_without_a_configuration_every_command_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    """A command in the wrong folder names the file it looked for."""
    monkeypatch.chdir(tmp_path)
    wanted = f"inbox: {tmp_path / 'inbox.toml'}: not found; `inbox init` writes one, INBOX_CONFIG names another\n"
    for command in (["check"], ["events"], ["serve"], ["run"], ["send", "roomz"], ["replay", "1"]):
        assert wanted == cli(*command, code=1).stderr


def test_the_configuration_can_lie_elsewhere(made: Path, tmp_path: Path, cli: Cli) -> None:
    """--config works from any folder, and paths start at the file's folder."""
    (tmp_path / "other").mkdir()
    os.chdir(tmp_path / "other")
    assert "nothing is wrong" in cli("--config", "../inbox.toml", "check").stdout
    assert [] == list((tmp_path / "other").iterdir())
