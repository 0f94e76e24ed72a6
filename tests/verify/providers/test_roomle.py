"""Roomle: an encrypted token that does not cover the body."""

import json
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from inbox.core.config.settings import SourceSettings
from inbox.core.errors import ConfigError
from inbox.core.models import REDACTED, Request, Secret
from inbox.verify import event_key
from inbox.verify.providers import build
from inbox.verify.providers.base import Provider
from tests.verify.providers.checklist import AT, VECTORS, ProviderChecklist, recorded

NOW = 1609455600.0
API_KEY = "aValidApiKey"


def roomle(options: dict[str, Any]) -> Provider:
    """Return the provider with exactly these options; None leaves one out."""
    kept = {name: value for name, value in options.items() if value is not None}
    return build(SourceSettings("test", "roomle", (Secret("a-Secr3t_Str1ng!"),), kept))


class TestRoomle(ProviderChecklist):
    """The checklist, and what is special about Roomle."""

    provider = "roomle"
    options: ClassVar[Mapping[str, Any]] = {"api_key": Secret(API_KEY)}
    secrets = ("a-Secr3t_Str1ng!", "twenty-four-characters-X", "a-wrong-Secret!!")
    header = "token"
    malformed = (*ProviderChecklist.malformed, "01", "01-", "01-*", "01-AAAA", "04-" + "A" * 64, "01-" + "A" * 64)
    event_type = "email.shareConfiguration"
    covers_body = False
    signs_time = True

    def fixed(self) -> tuple[Provider, Request, float]:
        """Return the token that Roomle publishes."""
        vector = VECTORS["roomle-token-02-ecb"]
        return self.make(vector["secret"], schemes=["02"]), recorded(vector), NOW

    @pytest.mark.parametrize("rule", ["zero", "key", "prefix"])
    def test_derived_tokens_are_accepted(self, rule: str) -> None:
        """By default every IV rule is tried, because none is documented."""
        vector = VECTORS[f"roomle-token-01-cbc-{rule}-iv"]
        assert self.make(vector["secret"]).verify(recorded(vector), at=NOW).secret == 0
        assert self.make(vector["secret"], iv=rule).verify(recorded(vector), at=NOW)

    def test_published_token_needs_its_scheme_allowed(self) -> None:
        """AES-ECB is refused unless the owner names it."""
        _, request, at = self.fixed()
        assert self.refusal(self.make(self.secrets[0]), request, at=at).reason == "forbidden"

    def test_plain_token_is_refused(self) -> None:
        """Scheme 03 is not encrypted."""
        request = recorded(VECTORS["roomle-token-03-plain"])
        assert self.refusal(self.make(self.secrets[0]), request, at=1516962790.0).reason == "forbidden"

    @pytest.mark.parametrize(
        ("options", "problem"),
        [
            ({"api_key": None}, "api_key is missing"),
            ({"iv": "guess"}, "iv must be auto"),
            ({"schemes": ["03"]}, "schemes: '03' is not known; allowed: '01', '02'"),
            ({"tolerance": 0}, "tolerance must be"),
            ({"token_reuse": "yes"}, "token_reuse: 'yes' is not known; allowed: 'conflict', 'allow'"),
            ({"api_key": API_KEY}, "api_key: a secret is named"),
        ],
    )
    def test_unusable_settings_are_an_error(self, options: dict[str, Any], problem: str) -> None:
        """Each setting that would weaken or break the check does not start, and is named."""
        with pytest.raises(ConfigError, match=problem) as caught:
            roomle({**self.options, **options})
        assert API_KEY not in str(caught.value)

    def test_secret_of_another_size_is_an_error(self) -> None:
        """A secret that is no AES key does not start, and is not shown."""
        with pytest.raises(ConfigError, match="a secret has 9 bytes; an AES key has 16, 24 or 32") as caught:
            self.make("too-short")
        assert "too-short" not in str(caught.value)

    def test_other_body_under_the_same_token_has_the_same_key(self) -> None:
        """The token does not cover the body, so a used one makes a conflict and not another event."""
        provider = self.make(self.secrets[0])
        request = self.request(provider)
        assert self.key(provider, request) == self.key(provider, request.replace(body=b'{"event":"x"}'))

    def test_token_reuse_can_be_allowed(self) -> None:
        """For a sender that uses one token several times, token and body make the key together."""
        provider = self.make(self.secrets[0], token_reuse="allow")
        request = self.request(provider)
        first, second = self.key(provider, request), self.key(provider, request.replace(body=b'{"event":"x"}'))
        assert first == self.key(provider, request) != second
        assert len(first) <= event_key.MAX_KEY

    def test_token_reuse_does_not_touch_other_keys(self) -> None:
        """Where the owner takes the key from elsewhere, it stays what it is."""
        provider = self.make(self.secrets[0], token_reuse="allow", event_id=["json:/data/configurationId"])
        assert self.key(provider, self.request(provider, id="1")) == "catalogId:itemId:1"

    def test_token_is_not_stored(self) -> None:
        """A token is a credential while it is fresh."""
        provider = self.make(self.secrets[0])
        assert provider.redact(self.request(provider)).header("token") == REDACTED

    def test_sample_has_the_documented_fields(self) -> None:
        """The sample is the documented example, fresh by its id."""
        data = self.make(self.secrets[0]).sample("", id="7", at=AT)
        assert data["event"] == "email.savedConfiguration"
        assert set(data["data"]) == {"success", "email", "configurationId", "url", "configuratorId"}
        assert "7" in json.dumps(data)
