"""`inbox reseal`, `erase` and `erasures` as a person calls them, and what other commands say of what is sealed."""

from pathlib import Path

import pytest

from inbox.core.config.settings import load
from inbox.runtime import Runtime
from inbox.testing import Inbox
from tests.cli.conftest import SETTINGS, Cli

BODY = b'{"id": "a", "type": "order", "data": {"email": "zappa@example.com"}}'
SEALED = "[inbox]\nseal_key = {keys}\n" + SETTINGS + 'subject = "json:/data/email"\n'


@pytest.fixture
def sealed(inbox: Inbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An inbox with an event from before it was sealed, and three sealed ones, of which two are about one person."""
    inbox.receive("open", BODY.replace(b'"a"', b'"before"'))
    inbox.close()
    monkeypatch.setenv("OLD", "11" * 32)
    monkeypatch.setenv("NEW", "22" * 32)
    use("OLD")
    receive(BODY, BODY.replace(b'"a"', b'"b"'), BODY.replace(b'"a"', b'"c"').replace(b"zappa", b"moon"))
    return tmp_path


def use(*names: str) -> None:
    """Set the keys."""
    keys = ", ".join(f'"env:{name}"' for name in names)
    Path("inbox.toml").write_text(SEALED.format(keys=f"[{keys}]") if names else SETTINGS)


def receive(*bodies: bytes) -> None:
    """Take requests in with the settings as they are."""
    runtime = Runtime(load(Path("inbox.toml").absolute()), clock=lambda: 1_767_225_600.0)
    try:
        for body in bodies:
            source = runtime.receiver.source("open")
            runtime.receiver.ingest("open", source, runtime.sources["open"].compose(body, "order", id="", at=0.0), 1e9)
    finally:
        runtime.close()


def test_erase_by_subject(cli: Cli, sealed: Path) -> None:
    """It says what it erased and what it could not look at; show, replay and the list of erasures tell of it."""
    before = cli("backup", "before.db").stdout
    assert before.startswith("before.db: 4 events")
    done = cli("erase", "--subject", "Zappa@example.com", "--source", "open", "--why", "asked", "--yes")
    assert "2 events were erased\n" == done.stdout
    assert "1 events of open were not searched: it is not noted whom they are about\n" == done.stderr
    assert "(erased at " in cli("show", "2").stdout
    assert "was erased at" in cli("show", "2", "--raw", code=1).stderr
    assert "1 erased: nothing is left of them to run" in cli("replay", "2").stdout
    assert "zappa" in cli("show", "1").stdout
    assert "moon" in cli("show", "4").stdout
    (entry,) = cli.json("erasures")
    assert ("asked", 2) == (entry["why"], entry["events"])
    assert "zappa" not in str(entry).lower()
    for path in sealed.glob("inbox.db*"):
        path.unlink()
    assert (
        "2 events in it were erased after the copy was made, and are erased here too\n"
        in cli("restore", "before.db").stdout
    )
    assert "(erased at " in cli("show", "2").stdout
    assert "no event is about that" in cli("erase", "--subject", "x", "--source", "open", "-y", code=1).stderr


def test_erase_by_id(cli: Cli, sealed: Path) -> None:
    """It asks first; it says what copies still have, and leaves what is kept; wrong ways to name events are refused."""
    assert "Destroy what 1 events said?" in cli("erase", "--event", "1", text="n\n", code=1).stderr
    assert "zappa" in cli("show", "1").stdout
    cli("keep", "2")
    done = cli("erase", "--event", "1", "--event", "2", "--yes", code=1)
    assert "1 events were erased\n" == done.stdout
    assert "1 of them were not sealed: copies of the database have them still\n" in done.stderr
    assert "1 events are kept (`inbox kept`) and were not erased\n" in done.stderr
    assert "there is no event 99" in cli("erase", "--event", "99", "--yes", code=1).stderr
    for wrong in ([], ["--subject", "x"], ["--event", "1", "--subject", "x", "--source", "open"]):
        cli("erase", *wrong, code=2)
    assert "sources.roomz.subject: missing" in cli("erase", "--subject", "x", "--source", "roomz", "-y", code=1).stderr


def test_reseal(cli: Cli, sealed: Path) -> None:
    """It says how many keys it wrapped, what still needs an old one, and seals what was plain."""
    assert "0 data keys were wrapped anew\nevery data key needs only" in cli("reseal").stdout
    use("NEW", "OLD")
    assert "data keys still need the old key" in cli("doctor", code=1).output
    doubt = cli("reseal", "--plain", "--sweep", "1", code=1)
    assert "4 data keys were wrapped anew\n1 rows were sealed\n" == doubt.stdout
    assert "the clock is in doubt, so nothing is forgotten for its age: see `inbox clock`" in doubt.stderr
    cli("clock", "confirm", "--count")
    said = cli("reseal", "--plain", "--sweep", "1").stdout
    assert said.startswith(
        "0 data keys were wrapped anew\n0 rows were sealed\n0 data keys without a body were forgotten\n"
    )
    use("NEW")
    assert "data keys, all under the first key of seal_key" in cli("doctor", code=1).output
    assert "zappa" in cli("show", "1").stdout
    assert not any(b"zappa" in path.read_bytes() for path in sealed.glob("*.db*"))
    assert "3 events were erased\n" == cli("erase", "--subject", "zappa@example.com", "--source", "open", "-y").stdout


@pytest.mark.parametrize("keys", [(), ("NEW",)], ids=["none", "another"])
def test_check_names_the_key(cli: Cli, sealed: Path, keys: tuple[str, ...]) -> None:
    """`inbox check` and `inbox serve` say what is missing; events are listed, and a body says why it is not shown."""
    use(*keys)
    for command in ("check", "serve"):
        assert "inbox.seal_key: " in cli(command, code=1).stderr
    assert 4 == len(cli.json("events"))
    assert "seal" in cli("show", "2").stdout
    unopened = 3 + len(keys)  # only the right key tells whether there may be one that is not sealed
    said = f"{unopened} bodies in it were not opened: there is no key for them here\n"
    assert said == cli("backup", "copy.db").stderr


def test_copy_of_the_keys(cli: Cli, sealed: Path) -> None:
    """It is a file for its owner that works in the place of the keys; it overwrites nothing unless told."""
    assert "keys-copy.db: 3 data keys\n" == cli("backup", "--keys", "keys-copy.db").stdout
    assert 0o600 == (sealed / "keys-copy.db").stat().st_mode & 0o777
    assert "exists: choose another name" in cli("backup", "--keys", "keys-copy.db", code=1).stderr
    assert (
        "keys.db belongs to inbox.key_file: choose another name, even with --force"
        in cli("backup", "--keys", "--force", "keys.db", code=1).stderr
    )
    for path in sealed.glob("keys.db*"):
        path.unlink()
    assert "keys.db is missing" in cli("check", code=1).stderr
    (sealed / "keys-copy.db").rename(sealed / "keys.db")
    assert "zappa" in cli("show", "2").stdout
    use()
    assert "seal_key" in cli("backup", "--keys", "another.db", code=1).stderr


def test_seal_key_is_never_written_in_the_settings(cli: Cli, inbox: Inbox) -> None:
    """A key in the clear, or one that is not a key, is refused without being shown."""
    Path("inbox.toml").write_text(f'[inbox]\nseal_key = ["{"11" * 32}"]\n')
    said = cli("check", code=1).stderr
    assert "inbox.seal_key: a secret is named, never written here" in said
    assert "1111" not in said
