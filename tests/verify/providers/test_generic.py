"""The three providers that are all settings: HMAC with the vectors of well-known senders, token, and Basic."""

import re
import tomllib
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from inbox.core.config.settings import SourceSettings
from inbox.core.errors import ConfigError
from inbox.core.models import Request, Secret
from inbox.verify.providers import build, generic
from inbox.verify.providers.base import Provider
from tests.verify.providers.checklist import AT, VECTORS, ProviderChecklist, recorded

RULES = {"event_id": ["json:/id"], "event_type": ["json:/type"]}
GITHUB = {"header": "X-Hub-Signature-256", "prefix": "sha256="}
SHOPIFY = {"header": "X-Shopify-Hmac-Sha256", "encoding": "base64"}
STRIPE = {"header": "Stripe-Signature", "list_keys": ["t", "v1"], "signed": "{timestamp}.{body}"}
SLACK = {
    "header": "X-Slack-Signature",
    "prefix": "v0=",
    "signed": "v0:{timestamp}:{body}",
    "timestamp_header": "X-Slack-Request-Timestamp",
}


def bare(provider: str, *, secret: str = "s", **options: Any) -> Provider:
    """Return a provider with these options only."""
    return build(SourceSettings("test", provider, (Secret(secret),), options))


class TestHmacOverBody(ProviderChecklist):
    """The checklist with GitHub's settings, and what is special about the generic HMAC."""

    provider = "hmac"
    options: ClassVar[Mapping[str, Any]] = {**GITHUB, **RULES}
    header = "X-Hub-Signature-256"
    malformed = (*ProviderChecklist.malformed, "sha256=", "sha256=zz", "sha1=" + "0" * 40, "sha256=" + "0" * 63)
    event_type = "issue.opened"

    def fixed(self) -> tuple[Provider, Request, float]:
        """Return the example of GitHub's documentation."""
        vector = VECTORS["github-docs"]
        return self.make(vector["secret"]), recorded(vector), AT

    @pytest.mark.parametrize(
        ("name", "settings"), [("octokit-basic", GITHUB), ("shopify-php", SHOPIFY), ("stripe-dotnet", STRIPE)]
    )
    def test_vectors_of_known_senders_are_accepted(self, name: str, settings: dict[str, Any]) -> None:
        """The settings in the module's docstring take what these senders publish."""
        vector = VECTORS[name]
        provider = bare("hmac", secret=vector["secret"], **settings)
        assert provider.verify(recorded(vector), at=vector.get("now", AT)).secret == 0

    @pytest.mark.parametrize("name", ["GitHub", "Shopify", "Stripe", "Slack"])
    def test_documented_settings_are_valid(self, name: str) -> None:
        """What the docstring says for a sender can be copied into inbox.toml."""
        entries = re.findall(rf"^  {name} ((?:.|\n {{12}})+)", generic.__doc__ or "", re.MULTILINE)
        table = tomllib.loads(f"settings = {{ {' '.join(entries[0].split())} }}")["settings"]
        assert {"header", "event_id", "event_type"} <= set(table)
        assert bare("hmac", **table).verifier

    def test_header_is_needed(self) -> None:
        """Without a header there is nothing to look at."""
        with pytest.raises(ConfigError, match="header is missing"):
            bare("hmac")

    @pytest.mark.parametrize(
        ("options", "problem"),
        [
            ({"digest": "md5"}, "digest: 'md5' is not known; allowed: 'sha1', 'sha256'"),
            ({"signed": "{nothing}"}, "must contain {body}"),
            ({"signed": "{timestamp}.{body}"}, "timestamp_header is needed"),
            ({"signed": "{id}.{body}"}, "id_header is needed"),
            ({"list_keys": ["t"]}, "list_keys must be two"),
            ({"key_encoding": "hex"}, "sources.test: "),
            ({"tolerance": 0}, "tolerance must be"),
            ({"event_id": ["=one"]}, "event_id must not be a fixed text"),
            ({"event_id": ["id"]}, "'id' is not a rule; allowed: json:/POINTER"),
        ],
    )
    def test_unusable_settings_are_an_error(self, options: dict[str, Any], problem: str) -> None:
        """Settings that do not fit together do not start."""
        with pytest.raises(ConfigError) as caught:
            self.make("s3cret", **options)
        assert problem in str(caught.value)
        assert "s3cret" not in str(caught.value)

    def test_key_can_be_written_in_hex(self) -> None:
        """`key_encoding` says what the secret is written in: 0x73 is "s"."""
        plain, hexadecimal = self.make("s"), self.make("73", key_encoding="hex")
        assert hexadecimal.verify(self.request(plain), at=AT)

    def test_warnings_name_what_is_not_wise(self) -> None:
        """SHA-1, keys that never expire, and ids that nobody signed are allowed, but said."""
        assert self.make("s").warnings() == ()
        assert "sha1" in self.make("s", digest="sha1").warnings()[0]
        assert "one event for ever" in bare("hmac", **GITHUB).warnings()[0]
        assert bare("hmac", **GITHUB, dedupe_for=60).warnings() == ()
        assert "not signed" in self.make("s", event_id=["header:X-Id"]).warnings()[0]
        signed = {"signed": "{id}.{body}", "id_header": "X-Id"}
        assert self.make("s", event_id=["header:x-id"], **signed).warnings() == ()

    def test_sample_follows_the_rules(self) -> None:
        """`inbox send` puts id and type where the rules look for them: headers, or members at the top."""
        rules = {"event_id": ["header:X-Id"], "event_type": ["json:/a/b", "json:/kind"]}
        provider = self.make("s", **rules)
        request = self.request(provider, id="one")
        assert request.header("X-Id") == "one"
        provider = self.make("s", event_id=["json:/key"], event_type=["header:X-Type"])
        request = self.request(provider, id="two")
        assert request.header("X-Type") == self.event_type
        assert self.key(provider, request) == "two"

    def test_sample_has_the_first_method(self) -> None:
        """A source that takes PUT only is sent a PUT."""
        provider = self.make("s", methods=["PUT"])
        assert self.request(provider).method == "PUT"


class TestHmacOverTimestamp(ProviderChecklist):
    """The checklist with Slack's settings: a timestamp in its own header."""

    provider = "hmac"
    options: ClassVar[Mapping[str, Any]] = {**SLACK, **RULES}
    header = "X-Slack-Signature"
    event_type = "app_mention"
    signs_time = True

    def fixed(self) -> tuple[Provider, Request, float]:
        """Return a request that was signed with `openssl dgst -sha256 -hmac`."""
        headers = {
            "X-Slack-Request-Timestamp": "1773921600",
            "X-Slack-Signature": "v0=c290b9c121c1f236c1dfd67b33b50e28401a8f5908d5c1b36bde1a4a2098a3e8",
        }
        return self.make("openssl-secret"), Request(body=b'{"id":"1","type":"a"}').with_headers(headers), AT

    def test_missing_timestamp_is_refused(self) -> None:
        """Without the timestamp's header the signature cannot be checked."""
        provider, request, at = self.fixed()
        bare = request.replace(headers=tuple(pair for pair in request.headers if "timestamp" not in pair[0]))
        assert self.refusal(provider, bare, at=at).reason == "missing"


class TestHmacOverList(ProviderChecklist):
    """The checklist with Stripe's settings: timestamp and signatures in one header."""

    provider = "hmac"
    options: ClassVar[Mapping[str, Any]] = {**STRIPE, **RULES}
    header = "Stripe-Signature"
    event_type = "customer.created"
    signs_time = True

    def fixed(self) -> tuple[Provider, Request, float]:
        """Return the vector of Stripe's .NET library."""
        vector = VECTORS["stripe-dotnet"]
        return self.make(vector["secret"]), recorded(vector), vector["now"]


class TestHmacOverId(ProviderChecklist):
    """The checklist with an id that is signed: the symmetric form of Standard Webhooks, by settings alone."""

    provider = "hmac"
    options: ClassVar[Mapping[str, Any]] = {
        "header": "webhook-signature",
        "prefix": "v1,",
        "encoding": "base64",
        "signed": "{id}.{timestamp}.{body}",
        "id_header": "webhook-id",
        "timestamp_header": "webhook-timestamp",
        "key_encoding": "base64",
        "event_id": ["header:webhook-id"],
        "event_type": ["json:/type"],
    }
    secrets = ("Zmlyc3Qtc2VjcmV0", "c2Vjb25kLXNlY3JldA==", "d3Jvbmctc2VjcmV0")
    header = "webhook-signature"
    event_type = "invoice.paid"
    signs_time = True

    def fixed(self) -> tuple[Provider, Request, float]:
        """Return the vector of the Standard Webhooks libraries."""
        vector = VECTORS["standard-webhooks-1"]
        return self.make(vector["secret"].removeprefix("whsec_")), recorded(vector), vector["now"]


class TestTokenInHeader(ProviderChecklist):
    """The checklist for a token in a header."""

    provider = "token"
    options: ClassVar[Mapping[str, Any]] = {"secret_name": "Authorization", "prefix": "Bearer ", **RULES}
    header = "Authorization"
    malformed = (*ProviderChecklist.malformed, "first-Secret-0001", "Bearer", "Bearer  ", "Basic QQ==")
    event_type = "door.opened"
    covers_body = False

    def fixed(self) -> tuple[Provider, Request, float]:
        """Return a request written by hand."""
        return self.make("s3cret"), Request().with_headers({"authorization": "Bearer s3cret"}), AT

    def test_name_is_needed(self) -> None:
        """A place without a name is an error; only a segment of the path has a default."""
        for place in ("header", "query", "body"):
            with pytest.raises(ConfigError, match="secret_name is missing"):
                self.make("s", secret_in=place, secret_name="", prefix="")
        assert self.make("s", secret_in="path", secret_name="", prefix="").verifier

    def test_other_place_is_an_error(self) -> None:
        """The places are named."""
        with pytest.raises(ConfigError, match="allowed: 'header', 'query', 'body', 'path'"):
            self.make("s", secret_in="cookie")


class TestTokenInPath(ProviderChecklist):
    """The checklist for a secret address, which is all that some senders can do."""

    provider = "token"
    options: ClassVar[Mapping[str, Any]] = {"secret_in": "path", **RULES}
    event_type = "door.opened"
    covers_body = False

    def fixed(self) -> tuple[Provider, Request, float]:
        """Return a request written by hand."""
        return self.make("s3cret"), Request(path="s3cret"), AT

    def forge(self, request: Request, credential: str | None) -> Request:
        """Return the request at another address."""
        return request.replace(path="" if credential is None else credential)


class TestBasic(ProviderChecklist):
    """The checklist for HTTP Basic."""

    provider = "basic"
    options: ClassVar[Mapping[str, Any]] = {"username": "Aladdin", **RULES}
    header = "Authorization"
    malformed = (*ProviderChecklist.malformed, "Basic", "Basic *", "Bearer QQ==", "Basic QWxhZGRpbg==")
    event_type = "door.opened"
    covers_body = False

    def fixed(self) -> tuple[Provider, Request, float]:
        """Return the example of RFC 7617."""
        headers = {"Authorization": "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="}
        return self.make("open sesame"), Request().with_headers(headers), AT

    def test_user_name_is_needed(self) -> None:
        """The user name may be empty, but it must be said."""
        assert self.make("s", username="").verifier
        with pytest.raises(ConfigError, match=r"sources\.test\.username: missing"):
            bare("basic")

    def test_colon_in_the_user_name_is_an_error(self) -> None:
        """A colon ends the user name."""
        with pytest.raises(ConfigError, match="colon"):
            self.make("s", username="a:b")
