"""What every provider has to prove: one class that each provider's test inherits.

A test class names the provider, its settings and one fixed vector; everything else follows. Overriding a helper is
fine where a scheme puts its credential elsewhere; leaving out a test is not.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from inbox.core.config.settings import SourceSettings
from inbox.core.errors import ConfigError, NotAuthentic
from inbox.core.models import REDACTED, Request, Secret, Verified, header_name
from inbox.verify import event_key
from inbox.verify.providers import build
from inbox.verify.providers.base import Provider, encode
from inbox.verify.schemas import Schemas, parse
from inbox.verify.schemes import shared_secret

AT = 1_773_921_600.0
VECTORS: dict[str, Any] = {
    vector["id"]: vector for vector in json.loads((Path(__file__).parents[2] / "vectors.json").read_bytes())
}
SCHEMAS = Schemas(Path(__file__).parents[3] / "schemas")


def recorded(vector: Mapping[str, Any]) -> Request:
    """Return the request of a vector."""
    return Request(body=vector.get("body", "").encode()).with_headers(vector["headers"])


def everything(request: Request) -> bytes:
    """Return all that would be stored of a request, in one piece."""
    text = "\n".join((request.path, request.query, *(part for pair in request.headers for part in pair)))
    return text.encode("utf-8", "surrogatepass") + request.body


class ProviderChecklist:
    """The tests that every provider passes.

    provider     its name in inbox.toml
    options      settings beside `secrets`
    secrets      two live secrets and one that is wrong, in the form this scheme wants
    header       where the credential is; override `forge` where it is not a header
    malformed    credentials that are not even of the right form
    event_type   a type that `sample` can be asked for
    covers_body  False where the credential says nothing about the body
    in_body      True where the credential is a member of the body
    signs_time   False where no timestamp is proved; else `tolerance` is its window in seconds
    """

    provider: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = {}
    secrets: ClassVar[tuple[str, str, str]] = ("first-Secret-0001", "second-Secret-002", "wrong-Secret-0003")
    header: ClassVar[str] = ""
    malformed: ClassVar[tuple[str, ...]] = ("", " ", "=", "%", "a" * 9999)
    event_type: ClassVar[str]
    covers_body: ClassVar[bool] = True
    in_body: ClassVar[bool] = False
    signs_time: ClassVar[bool] = False
    tolerance: ClassVar[float] = 300.0

    def fixed(self) -> tuple[Provider, Request, float]:
        """Return a provider, a request that was not signed by our own code, and the time it is valid at."""
        raise NotImplementedError

    def make(self, *secrets: str, **options: Any) -> Provider:
        """Return the provider as inbox.toml would make it."""
        live = tuple(Secret(secret) for secret in secrets)
        return build(SourceSettings("test", self.provider, live, {**self.options, **options}))

    def request(self, provider: Provider, *, id: str = "b7c7dd06-0001-4d2a-9a26-3f4cf1a2b3c4") -> Request:
        """Return a fresh request, signed under the provider's first secret."""
        body = encode(provider.sample(self.event_type, id=id, at=AT))
        return provider.sign(provider.compose(body, self.event_type, id=id, at=AT), at=AT)

    def forge(self, request: Request, credential: str | None) -> Request:
        """Return the request with another credential; None removes it."""
        if credential is not None:
            return request.with_headers({self.header: credential})
        bare = tuple(pair for pair in request.headers if pair[0] != header_name(self.header))
        return request.replace(headers=bare)

    def refusal(self, provider: Provider, request: Request, *, at: float = AT) -> NotAuthentic:
        """Return why the request is refused."""
        with pytest.raises(NotAuthentic) as caught:
            provider.verify(request, at=at)
        assert caught.value.diagnosis
        return caught.value

    @property
    def body_decides(self) -> bool:
        """Tell whether it takes the body to prove who sends."""
        return self.covers_body or self.in_body

    def refusal_by_head(self, provider: Provider, request: Request) -> str | None:
        """Return why a request is refused before its body has come, None if it is not."""
        try:
            provider.verify_head(request.replace(body=b""), at=AT)
        except NotAuthentic as refused:
            return str(refused)
        return None

    def key(self, provider: Provider, request: Request) -> str:
        """Return the event key, found in the order in which the receiver finds it."""
        verified = provider.verify(request, at=AT)
        stored = provider.redact(request)
        return provider.key_of(stored, json.loads(stored.body), verified, event_key.content_digest(stored))

    def test_fixed_vector_is_accepted(self) -> None:
        """A request that was signed elsewhere is believed."""
        provider, request, at = self.fixed()
        assert isinstance(provider.verify(request, at=at), Verified)

    def test_own_sample_is_accepted(self) -> None:
        """What `inbox send` sends is believed, by the first secret."""
        provider = self.make(*self.secrets[:2])
        assert provider.verify(self.request(provider), at=AT).secret == 0

    def test_sample_has_the_type_it_was_asked_for(self) -> None:
        """`inbox send --type` arrives with that type."""
        provider = self.make(*self.secrets[:2])
        stored = provider.redact(self.request(provider))
        assert self.event_type == provider.type_of(stored, json.loads(stored.body))

    def test_sample_matches_its_schema(self) -> None:
        """What `inbox send` sends is not quarantined."""
        provider = self.make(*self.secrets[:2])
        stored = provider.redact(self.request(provider))
        assert SCHEMAS.violations(self.provider, self.event_type, parse(stored.body), formats="assert") == ()

    def test_wrong_secret_is_refused(self) -> None:
        """A request under another secret is refused as a mismatch."""
        stranger = self.make(self.secrets[2])
        assert self.refusal(self.make(*self.secrets[:2]), self.request(stranger)).reason in ("mismatch", "malformed")

    def test_second_secret_is_accepted(self) -> None:
        """During a rotation both secrets are live, and it is known which one matched."""
        old = self.make(self.secrets[1])
        assert self.make(*self.secrets[:2]).verify(self.request(old), at=AT).secret == 1

    def test_missing_credential_is_refused(self) -> None:
        """Without a credential nothing is believed."""
        provider = self.make(*self.secrets[:2])
        assert self.refusal(provider, self.forge(self.request(provider), None)).reason == "missing"

    def test_headers_alone_refuse_what_no_body_could_prove(self) -> None:
        """Without a credential, or with a malformed one, it takes no body to refuse, and the diagnosis is the same.

        A secret in the body is the exception: there headers say nothing.
        """
        provider = self.make(*self.secrets[:2])
        request = self.request(provider)
        for text in (None, *self.malformed):
            forged = self.forge(request, text)
            expected = None if self.in_body else str(self.refusal(provider, forged))
            assert self.refusal_by_head(provider, forged) == expected

    def test_headers_alone_never_refuse_what_is_genuine(self) -> None:
        """They believe it where the body is not covered, under either secret; else the body decides."""
        provider = self.make(*self.secrets[:2])
        for secret in self.secrets[:2]:
            request = self.request(self.make(secret))
            found = provider.verify_head(request.replace(body=b""), at=AT)
            assert self.body_decides == callable(found)
            assert provider.verify(request, at=AT) == (found(request) if callable(found) else found)

    def test_headers_alone_refuse_a_wrong_secret_that_covers_no_body(self) -> None:
        """So a stranger's body is not kept; where the credential covers the body, or is in it, the body decides."""
        request = self.request(self.make(self.secrets[2]))
        found = self.refusal_by_head(self.make(*self.secrets[:2]), request)
        assert found == (None if self.body_decides else str(self.refusal(self.make(*self.secrets[:2]), request)))

    def test_malformed_credential_is_refused(self) -> None:
        """Whatever stands where the credential should be is an ordinary refusal."""
        provider = self.make(*self.secrets[:2])
        for text in self.malformed:
            self.refusal(provider, self.forge(self.request(provider), text))

    def test_non_ascii_credential_is_refused(self) -> None:
        """Text that is not ASCII, not Latin-1, or no text at all is an ordinary refusal."""
        provider = self.make(*self.secrets[:2])
        for text in ("é", "\x00", "日本", "\ud800", "\udcff"):
            self.refusal(provider, self.forge(self.request(provider), text))

    def test_non_utf8_body_raises_nothing_else(self) -> None:
        """A body that is not text is refused, or believed by a scheme that does not look at it."""
        provider = self.make(*self.secrets[:2])
        strange = self.request(provider).replace(body=b"\xff\xfe{}")
        try:
            believed = bool(provider.verify(strange, at=AT))
        except NotAuthentic:
            believed = False
        assert not (believed and self.covers_body)

    def test_changed_body_is_refused_where_it_is_covered(self) -> None:
        """One other byte in the body is refused by a scheme that covers it; one that does not is shown not to."""
        provider = self.make(*self.secrets[:2])
        request = self.request(provider)
        for place in (0, len(request.body) // 2, -1):
            body = bytearray(request.body)
            body[place] ^= 1
            if self.covers_body:
                self.refusal(provider, request.replace(body=bytes(body)))
        if not self.covers_body:
            longer = request.replace(body=request.body + b" ")
            assert provider.verify(longer, at=AT) == provider.verify(request, at=AT)

    def test_stale_timestamp_is_refused_where_it_is_signed(self) -> None:
        """A timestamp counts for `tolerance` seconds, both ways, and not one more; else time does not matter."""
        provider = self.make(*self.secrets[:2])
        request = self.request(provider)
        for way in (-1, 1):
            if not self.signs_time:
                provider.verify(request, at=AT + way * 10 * 365 * 86400)
                continue
            provider.verify(request, at=AT + way * self.tolerance)
            assert self.refusal(provider, request, at=AT + way * (self.tolerance + 1)).reason == "stale"

    def test_no_secret_is_an_error(self) -> None:
        """Without a secret the source does not start, instead of believing everybody."""
        with pytest.raises(ValueError, match="secrets"):
            replace(self.make(*self.secrets[:2]), secrets=()).check()

    def test_unknown_setting_is_an_error(self) -> None:
        """A setting that does not exist is named, with what is allowed."""
        with pytest.raises(ConfigError, match=r"sources\.test\.colour: unknown setting; allowed: .*secrets"):
            self.make(*self.secrets[:2], colour="red")

    def test_redacted_request_holds_no_secret(self) -> None:
        """No live secret is in what is stored, whichever of them the sender used."""
        provider = self.make(*self.secrets[:2])
        for used in self.secrets[:2]:
            stored = everything(provider.redact(self.request(self.make(used))))
            assert not [secret for secret in self.secrets[:2] if secret.encode() in stored]

    def test_different_ids_have_different_keys(self) -> None:
        """The same request again has the same key, another one has another key."""
        provider = self.make(*self.secrets[:2])
        first, second = (self.request(provider, id=f"b7c7dd06-000{n}-4d2a-9a26-3f4cf1a2b3c4") for n in (1, 2))
        key = self.key(provider, first)
        assert key == self.key(provider, first)
        assert key != self.key(provider, second)


class BodySecretChecklist(ProviderChecklist):
    """The checklist for a secret in the body's member `secret`."""

    covers_body = False
    in_body = True
    malformed = ("", " ", "=", "%", "a" * 9999, REDACTED)

    def forge(self, request: Request, credential: str | None) -> Request:
        """Return the request with another `secret`; None removes it."""
        payload: dict[str, Any] = json.loads(request.body)
        del payload["secret"]
        if credential is not None:
            payload["secret"] = credential
        return request.replace(body=json.dumps(payload).encode())

    def test_large_body_without_the_secret_is_refused_unparsed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing is made of it; one with the secret is believed, however JSON writes name and secret."""
        provider, secret = self.make(*self.secrets[:2]), self.secrets[1]
        large = [[]] * 20_000
        spelled = [json.dumps("secret"), "".join(f"\\u{ord(char):04X}" for char in "secret").join('""')]
        values = [json.dumps(secret), "".join(f"\\u{ord(char):04x}" for char in secret).join('""')]
        for name in spelled:
            for value in values:
                body = f'{{"x": {json.dumps(large)}, {name} :\n {value}}}'.encode()
                assert 1 == provider.verify(Request(body=body), at=AT).secret
        monkeypatch.setattr(shared_secret, "_load", None)
        for body in (encode(large), encode({"secret": "wrong", "x": large}), b'{"secret": "' * 9000, b"\\" * 20_000):
            assert "mismatch" == self.refusal(provider, Request(body=body)).reason

    def test_secret_that_is_not_text_is_refused(self) -> None:
        """Any other JSON value in the secret's place is an ordinary refusal."""
        provider = self.make(*self.secrets[:2])
        for value in (0, 1.5, True, [], {}, [self.secrets[0]], {"secret": self.secrets[0]}):
            assert self.refusal(provider, Request(body=encode({"secret": value}))).reason == "malformed"
        assert self.refusal(provider, Request(body=b'{"secret":null}')).reason == "missing"

    def test_rotation_does_not_change_the_key(self) -> None:
        """The same event under the other live secret is a duplicate."""
        provider, old = self.make(*self.secrets[:2]), self.make(self.secrets[1])
        assert self.key(provider, self.request(provider)) == self.key(provider, self.request(old))
