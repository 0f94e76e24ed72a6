"""The provider that believes everything, when it is said."""

import pytest

from inbox.core.config.settings import SourceSettings
from inbox.core.errors import ConfigError
from inbox.core.models import Request, Secret, Verified
from inbox.verify.providers import build

SOURCE = SourceSettings("test", "unsigned", (), {})


def test_every_request_is_believed() -> None:
    """There is nothing that could be wrong."""
    provider = build(SOURCE)
    for request in (Request(), Request(body=b"\xff"), Request(headers=(("authorization", "\ud800"),))):
        assert Verified("unsigned") == provider.verify(request, at=0.0)


def test_request_is_neither_signed_nor_redacted() -> None:
    """What is sent and what is stored is what was there."""
    provider, request = build(SOURCE), Request(query="secret=1", body=b'{"secret":"1"}')
    assert request == provider.sign(request, at=0.0) == provider.redact(request)


def test_secrets_are_an_error() -> None:
    """A secret that nobody checks would only look safe."""
    with pytest.raises(ConfigError, match="secrets has no effect"):
        build(SourceSettings("test", "unsigned", (Secret("s"),), {}))


def test_check_warns() -> None:
    """`inbox check` says each time that nothing is proved."""
    assert "nothing proves" in build(SOURCE).warnings()[0]


def test_unknown_setting_is_an_error() -> None:
    """A setting that does not exist is named."""
    with pytest.raises(ConfigError, match="colour: unknown setting"):
        build(SourceSettings("test", "unsigned", (), {"colour": "red"}))


def test_type_is_looked_for_in_the_usual_places() -> None:
    """`type` and `event` of the body are tried; rules can be configured."""
    provider = build(SOURCE)
    assert provider.type_of(Request(), {"type": "a", "event": "b"}) == "a"
    assert provider.type_of(Request(), {"event": "b"}) == "b"
    assert provider.type_of(Request(), []) == "unknown"
    chosen = build(SourceSettings("test", "unsigned", (), {"event_type": ["path:1"]}))
    assert chosen.type_of(Request(path="door/open"), {}) == "door"


def test_same_body_counts_as_the_same_event_for_an_hour() -> None:
    """A digest is the key, so no stranger can use up the id of an event to come."""
    provider = build(SOURCE)
    key = provider.key_of(Request(), {"id": "1"}, Verified("unsigned"), b"\x01" * 32)
    assert (key, provider.dedupe_for) == ("sha256:" + "01" * 32, 3600)
