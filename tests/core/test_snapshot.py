"""The files that processes start from, as they were when they were right: in memory, and read instead of the disk."""

import errno
import os
import ssl
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inbox.core.config import snapshot
from inbox.core.config.settings import load
from inbox.core.config.snapshot import Shared, Snapshot
from inbox.core.errors import ConfigError, InboxError
from inbox.deliver.handler_loader import load as load_handlers
from inbox.process import certificates, startup_checks
from inbox.runtime import Runtime
from tests.support.authority import Authority
from tests.support.place import Place


@pytest.fixture(autouse=True)
def disk() -> Iterator[None]:
    """Read from disk again after each test."""
    yield
    snapshot.use(None)
    snapshot._number = None


def taken(place: Place, monkeypatch: pytest.MonkeyPatch) -> Snapshot:
    """Return what is in the folder, and use it."""
    monkeypatch.setenv("INBOX_CONFIG", str(place.folder / "inbox.toml"))
    _, found = startup_checks.take_snapshot(7.0)
    snapshot.use(found)
    return found


def test_what_is_read_is_what_was_there(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings, `.env`, secrets in files, and schemas: whatever happens to them on disk."""
    place.configure(sources='[sources.acme]\nprovider = "hmac"\nsecrets = ["file:own", "env:OTHER"]\nheader = "X-S"\n')
    (place.folder / "own").write_text("first")
    (place.folder / ".env").write_text("OTHER=second\n")
    before = Runtime(load(place.folder / "inbox.toml")).schemas._files
    taken(place, monkeypatch)
    for name in ("inbox.toml", ".env", "own"):
        (place.folder / name).write_text("{")
    for path in [*place.folder.glob("schemas/**/*.json")]:
        path.write_text("{")
    (place.folder / "schemas").rename(place.folder / "elsewhere")
    found = Runtime(load(place.folder / "inbox.toml"))
    assert [b"first", b"second"] == [secret.reveal() for secret in found.settings.sources["acme"].secrets]
    assert before == found.schemas._files
    assert (True, False) == (snapshot.is_folder(place.folder / "schemas"), snapshot.is_folder(place.folder / "else"))


def test_a_file_that_came_later_is_not_there(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of what was not checked is read."""
    place.configure(sources='[sources.open]\nprovider = "unsigned"\n')
    (place.folder / ".env").unlink()
    taken(place, monkeypatch)
    (place.folder / ".env").write_bytes(b"\xff")
    place.handler("late", "1 / 0")
    runtime = Runtime(load(place.folder / "inbox.toml"))
    assert {} == runtime.registry.failures
    with pytest.raises(FileNotFoundError):
        snapshot.read(place.folder / ".env")


def test_handlers_are_imported_as_they_were(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """With helpers, packages and folders; `__file__` and tracebacks name the file, and show the lines that ran."""
    folder = place.folder / "handlers"
    (folder / "package").mkdir()
    (folder / "spread").mkdir()
    (folder / "package" / "__init__.py").write_text("from .inner import value\n")
    (folder / "package" / "inner.py").write_text("value = 1\n")
    (folder / "spread" / "part.py").write_text("value = 2\n")
    place.only_handler(
        "own",
        "from inbox import handles\nfrom . import _helper\nfrom .package import value as a\n"
        "from .spread.part import value as b\n"
        "@handles('*')\ndef own(event):\n    return (a, b, _helper.value, __file__)\n"
        "@handles('*')\ndef fails(event):\n    raise ValueError('these words')\n",
    )
    (folder / "_helper.py").write_text("value = 3\n")
    taken(place, monkeypatch)
    for path in folder.rglob("*.py"):
        path.write_text("1 / 0  # not this\n")
    registry = load_handlers(folder)
    assert {} == registry.failures
    assert (1, 2, 3, str(folder / "own.py")) == registry.handlers["own.own"].function(None)
    try:
        registry.handlers["own.fails"].function(None)
    except ValueError:
        text = traceback.format_exc()
    assert [True, True, False] == [word in text for word in (str(folder / "own.py"), "('these words')", "not this")]
    assert [] == list(folder.rglob("__pycache__"))


def test_a_handler_that_cannot_be_read_is_a_failure_of_its_own(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on disk: the others are loaded."""
    (place.folder / "handlers" / "odd.py").mkdir()
    place.handler("own", "from inbox import handles\n@handles('*')\ndef own(event): pass\n")
    taken(place, monkeypatch)
    registry = load_handlers(place.folder / "handlers")
    assert (["odd"], True) == (list(registry.failures), "own.own" in registry.handlers)


def test_what_is_handed_on_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader waits for a writer; what is not whole after a while is an error, and never used."""
    first, second = (Snapshot({f"/{n}": b"x" * n * 100_000, "/no": errno.EACCES}, n) for n in (1, 2))
    shared = Shared(first)
    environ = {**shared.environment, "ELSE": "1"}
    snapshot.inherit(environ)
    assert ({"ELSE": "1"}, first.digest) == (environ, used().digest)
    with pytest.raises(PermissionError):
        snapshot.read(Path("/no"))
    os.pwrite(shared.number, b"torn", 10)
    writer = threading.Timer(0.3, shared.put, (second,))
    writer.start()
    snapshot.renew()
    assert (second.digest, 2) == (used().digest, used().at)
    writer.join()
    monkeypatch.setattr(snapshot, "_PATIENCE", 0.1)
    os.ftruncate(shared.number, 50)
    with pytest.raises(InboxError, match="not whole"):
        snapshot.renew()
    shared.close()


def used() -> Snapshot:
    found = snapshot.in_use()
    assert found is not None
    return found


def test_nothing_of_it_is_on_a_disk(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets are in memory alone: there is nothing to clean up after a kill -9."""
    shared = Shared(taken(place, monkeypatch))
    assert Path(f"/proc/self/fd/{shared.number}").readlink().name.startswith("memfd:inbox-snapshot")
    shared.close()


def test_the_certificate_is_the_newest_that_works(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """On disk if it is right there, as it is replaced without a reload; else the one that was read before."""
    authority = Authority(place.folder)
    authority.issue(place.folder / "cert.pem", place.folder / "key.pem")
    place.configure(server='tls_cert = "cert.pem"\ntls_key = "key.pem"')
    settings = load(place.folder / "inbox.toml", place.environment)
    good = (place.folder / "cert.pem", place.folder / "key.pem")
    (place.folder / "key.pem").write_bytes(key := (place.folder / "key.pem").read_bytes())
    taken(place, monkeypatch)
    assert good == certificates.usable(settings)
    good[1].write_text("half")
    cert, kept = certificates.usable(settings)
    assert cert is not None
    assert kept is not None
    assert (True, key) == (kept.resolve() != good[1], kept.resolve().read_bytes())
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, kept)
    snapshot.use(None)
    with pytest.raises(ConfigError, match="do not go together"):
        certificates.usable(settings)


def test_two_with_a_difference_have_different_digests() -> None:
    """And the time does not matter."""
    made: list[Any] = [Snapshot({"/a": b"1"}, 1.0), Snapshot({"/a": b"1"}, 2.0), Snapshot({"/a": 2}, 1.0)]
    assert [True, False] == [made[0].digest == other.digest for other in made[1:]]
