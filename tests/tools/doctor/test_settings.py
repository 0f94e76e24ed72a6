"""The settings: what does not work, and what works for the wrong people as well."""

import socket
from pathlib import Path

import pytest

from inbox.core.config.settings import ServerSettings, load
from inbox.runtime import Runtime
from inbox.tools.doctor import settings
from tests.support.machine import levels
from tests.support.place import Place, free_port


def look(place: Place) -> list[settings.Finding]:
    runtime = Runtime(load(place.folder / "inbox.toml"))
    found = list(settings.look(runtime))
    runtime.close()
    return found


def test_what_init_writes_is_fine_and_no_database_is_made(place: Place) -> None:
    """Only the receiver does not run yet."""
    place.configure()
    assert [("warning", "receiver")] == levels(look(place))
    assert [] == list(place.folder.glob("*.db*"))


def test_everything_that_check_finds_is_a_problem(place: Place) -> None:
    """A broken handler, a schema that is none, a missing secret: one finding each."""
    place.configure()
    place.handler("broken", "1/0")
    (place.folder / "schemas" / "roomz" / "default.json").write_text("{")
    (place.folder / "inbox.db").write_text("text" * 1000)
    found = [item.found for item in look(place) if item.level == "problem"]
    assert [True, True] == [
        "default.json" in found[0],
        "handlers: broken does not import: ZeroDivisionError" in found[-1],
    ]
    (place.folder / "schemas" / "roomz" / "default.json").write_text("{}")
    assert "database" in next(item.found for item in look(place) if item.level == "problem")


def test_warnings_of_sources_are_told(place: Place) -> None:
    """A source that nobody signs for."""
    place.configure(sources='[sources.open]\nprovider = "unsigned"\n')
    assert "sources.open: whoever knows the address can send events" in look(place)[1].found


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({}, 0),
        ({"host": "::1", "trusted_proxies": 1}, 0),
        ({"host": "0.0.0.0"}, 1),
        ({"host": "::"}, 1),
        ({"host": "0.0.0.0", "tls_cert": "c", "tls_key": "k"}, 0),
        ({"host": "0.0.0.0", "trusted_proxies": 1}, 2),
        ({"host": "localhost"}, 0),
    ],
)
def test_an_address_that_others_reach_is_a_warning(options: dict[str, object], found: int) -> None:
    """Without TLS, or with trust in headers that anybody can write; what is no address is told elsewhere."""
    assert found == len(levels([*settings.exposure(ServerSettings(**options))]))  # type: ignore[arg-type]


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_whether_something_answers_is_told(host: str, tmp_path: Path) -> None:
    """Somebody listens, or nobody does."""
    assert "warning" == settings.listening(ServerSettings(host=host, port=free_port())).level
    with socket.create_server(("127.0.0.1", 0)) as listener:
        answer = settings.listening(ServerSettings(host=host, port=listener.getsockname()[1]))
    assert ("ok", True) == (answer.level, "something answers" in answer.found)
