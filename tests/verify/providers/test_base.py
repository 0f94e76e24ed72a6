"""What all providers share: how one is built, and which settings cannot work."""

from typing import Any

import pytest

from inbox.core.config.settings import SourceSettings
from inbox.core.errors import ConfigError
from inbox.core.models import Request, Secret
from inbox.verify.providers import PROVIDERS, build
from inbox.verify.providers.base import Provider


def make(provider: str = "roomz", *secrets: str, **options: Any) -> Provider:
    """Return a provider as inbox.toml would make it."""
    return build(SourceSettings("test", provider, tuple(map(Secret, secrets or ("s",))), options))


def test_unknown_provider_is_an_error() -> None:
    """The providers that exist are named."""
    with pytest.raises(ConfigError, match=r"sources\.test\.provider: 'rooms' is unknown; allowed: breakcold, .*roomz"):
        make("rooms")


@pytest.mark.parametrize("name", PROVIDERS)
def test_every_provider_is_described(name: str) -> None:
    """A provider is registered under its own name, and its module says what it needs and what it proves."""
    cls = PROVIDERS[name]
    module = __import__(cls.__module__, fromlist=["__doc__"])
    assert cls.name == name
    for heading in ("Needs", "Proves", "Answers", "Failure"):
        assert heading in (module.__doc__ or "")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"ack_status": 302}, "ack_status must be 200 to 299"),
        ({"max_body": 0}, "max_body must be 1 to"),
        ({"max_body": 10**9}, "max_body must be 1 to"),
        ({"dedupe_for": -1}, "dedupe_for must be 0"),
        ({"dedupe_for": float("nan")}, "dedupe_for: is out of range"),
        ({"dedupe_for": 3_153_600_001.0}, "dedupe_for must be 0"),
        ({"hold_for": 3_153_600_001.0}, "hold_for at most 3153600000"),
        ({"hold_requests": 2**60}, "hold_requests: is out of range"),
        ({"methods": []}, "methods must be of POST"),
        ({"methods": ["HEAD"]}, "methods must be of POST"),
        ({"event_id": ["id"]}, "'id' is not a rule"),
        ({"event_type": ["json:id"]}, "'json:id' is not a rule"),
        ({"event_id": ["=1"]}, "event_id must not be a fixed text"),
    ],
)
def test_settings_that_cannot_work_are_an_error(options: dict[str, Any], problem: str) -> None:
    """The source does not start, and the owner reads why."""
    with pytest.raises(ConfigError, match=problem):
        make(**options)


def test_query_is_the_payload() -> None:
    """Data in a query string is decoded; of a parameter that stands there twice the last one counts."""
    query = "a=1&b=%C3%BC&b=2&c=%FF&d="
    assert make().query_payload(Request(query=query)) == {"a": "1", "b": "2", "c": "�", "d": ""}


def test_scheme_has_to_be_chosen() -> None:
    """A provider without an authentication scheme cannot be used by accident."""
    with pytest.raises(NotImplementedError):
        Provider(secrets=(Secret("s"),)).check()


def test_nothing_is_warned_of_by_default() -> None:
    """A provider that is wise by default has nothing to say."""
    assert make().warnings() == ()
