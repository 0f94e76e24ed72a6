"""A secret that the sender puts into the request as it is: header, query, JSON body or path → Verified or NotAuthentic.

It proves that the sender knows the secret, not that the rest is unchanged: whoever reads one request can write others.
So the secret never reaches the store. Next: `inbox.receive.receiver`.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, NoReturn
from urllib.parse import quote, unquote_to_bytes

from inbox.core.errors import NotAuthentic
from inbox.core.models import REDACTED, Payload, Request, Secret, Verified, header_name
from inbox.verify.schemes import json_text
from inbox.verify.schemes.base import ByHead, Verifier, compare, header_bytes, redact_headers, refuse

Location = Literal["header", "query", "body", "path"]

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"(\s*+:)?', re.DOTALL)
"""A string of a JSON text and, where it is a key, its colon. Only for text that is known to be JSON."""

DIAGNOSED = 16_384
"""Bytes; a larger body that holds no secret is not parsed to tell why: as objects it could take 26 times as much."""

_HEADER = re.compile(rb"[!-~]([ -~]*[!-~])?")
_SEGMENT = re.compile(rb"(?!\.\.?$)[!-.0-~]+")


@dataclass(frozen=True, kw_only=True)
class SharedSecret(Verifier):
    """One of the live secrets stands at a place of the request.

    location  header, query, body or path
    name      the header, the query parameter, the JSON pointer of a member (/secret) or the number of the path's
              segment, where the first is 1 and the default
    prefix    text before the secret in a header, as in "Bearer "
    """

    location: Location
    name: str = ""
    prefix: str = ""

    def verify_head(self, request: Request, secrets: Sequence[Secret], *, at: float) -> ByHead:
        """Compare what stands at the place with every live secret."""
        return partial(self._compared, secrets) if self.location == "body" else self._compared(secrets, request)

    def _compared(self, secrets: Sequence[Secret], request: Request) -> Verified:
        """Return why the request is believed. Raises NotAuthentic.

        A large body is parsed only if a member that is called so, at any depth, is one of the secrets.
        """
        if self.location == "body" and len(request.body) > DIAGNOSED and not self._is_in(request.body, secrets):
            refuse("mismatch", f"{self._place}, which is too large to say more, is none of the configured secrets")
        given = self._read(request)
        if not given:
            refuse("missing", f"{self._place} is empty")
        for index, secret in enumerate(secrets):
            if compare(given, secret.reveal()):
                return Verified("shared secret", index)
        if any(compare(given.strip(), secret.reveal().strip()) for secret in secrets):
            refuse("mismatch", f"{self._place} fits a secret except for white space around it: correct the secret")
        refuse("mismatch", f"{self._place} is none of the configured secrets")

    def sign(self, request: Request, secret: Secret, *, at: float) -> Request:
        """Return the request with the secret in its place. Raises NotAuthentic if the body has no such place."""
        value = secret.reveal()
        if self.location == "header":
            return request.with_headers({self.name: self.prefix + value.decode("latin-1")})
        if self.location == "query":
            parameter = f"{quote(self.name, safe='')}={quote(value, safe='')}"
            return request.replace(query=f"{request.query}&{parameter}" if request.query else parameter)
        if self.location == "path":
            segments = [segment for segment in request.path.split("/") if segment]
            segments.insert(self._number - 1, value.decode("latin-1"))
            return request.replace(path="/".join(segments))
        return request.replace(body=_write(_set(_load(request.body), self._steps, value.decode())))

    def redact(self, request: Request, secrets: Sequence[Secret]) -> Request:
        """Return the request with REDACTED in the place of the secret, everything else as it was received.

        Only the place is looked at, wherever it occurs more than once: a secret that the sender repeats somewhere else
        in his data stays there.
        """
        if self.location == "header":
            return redact_headers(request, [header_name(self.name)])
        if self.location == "query":
            return request.replace(query="&".join(map(self._redact_parameter, request.query.split("&"))))
        live = frozenset(secret.reveal() for secret in secrets)
        if self.location == "path":
            return request.replace(path=self._redact_path(request.path, live))
        return request.replace(body=self._redact_body(request.body, live))

    def covers(self, rule: str) -> bool:
        """Tell that there is nothing to bind: whoever captured a request has the secret."""
        return True

    def check(self, secrets: Sequence[Secret]) -> None:
        """Raise ValueError if there can be no such place, or a secret cannot stand there."""
        allowed, kind = _NAMES[self.location]
        if not re.fullmatch(allowed, self.name):
            raise ValueError(f"{self.name!r} is not {kind}, where a secret in the {self.location} is looked for")
        if self.prefix and self.location != "header":
            raise ValueError(f"a prefix is for headers; the secret is in the {self.location}")
        for secret in secrets:
            problem = _unusable(self.location, secret.reveal())
            if problem:
                raise ValueError(f"a secret in the {self.location} {problem}")

    @property
    def _place(self) -> str:
        return {
            "header": f"the header {self.name}",
            "query": f"the query parameter {self.name}",
            "body": f"{self.name} in the body",
            "path": f"segment {self.name or 1} of the path",
        }[self.location]

    @property
    def _number(self) -> int:
        return int(self.name or "1")

    @property
    def _steps(self) -> list[str]:
        return [step.replace("~1", "/").replace("~0", "~") for step in self.name.split("/")[1:]]

    def _read(self, request: Request) -> bytes:
        """Return what stands at the place. Raises NotAuthentic."""
        readers: Mapping[Location, Callable[[Request], bytes]] = {
            "header": self._read_header,
            "query": self._read_query,
            "body": self._read_body,
            "path": self._read_path,
        }
        return readers[self.location](request)

    def _read_header(self, request: Request) -> bytes:
        value = header_bytes(request, self.name)
        if not value.startswith(self.prefix.encode()):
            refuse("malformed", f"{self._place} does not start with {self.prefix!r}")
        return value.removeprefix(self.prefix.encode())

    def _read_query(self, request: Request) -> bytes:
        pairs = (part.partition("=") for part in request.query.split("&"))
        values = [_unquote(value) for name, _, value in pairs if _unquote(name) == self.name.encode()]
        if not values:
            refuse("missing", f"{self._place} is missing")
        if len(values) > 1:
            refuse("malformed", f"{self._place} stands there {len(values)} times")
        return values[0]

    def _read_body(self, request: Request) -> bytes:
        found = _pointed(_load(request.body), self._steps)
        if found is None:
            refuse("missing", f"{self._place} is missing")
        if not isinstance(found, str):
            refuse("malformed", f"{self._place} is not text")
        return found.encode("utf-8", "surrogatepass")

    def _is_in(self, body: bytes, secrets: Sequence[Secret]) -> bool:
        """Tell whether a member of the JSON text has the right name and one of the secrets. Makes no objects of it."""
        given = json_text.strings(body, self._steps[-1])
        return any(compare(text, secret.reveal()) for text in given for secret in secrets)

    def _read_path(self, request: Request) -> bytes:
        segments = [segment for segment in request.path.split("/") if segment]
        if len(segments) < self._number:
            refuse("missing", f"{self._place} is missing")
        return segments[self._number - 1].encode("utf-8", "surrogatepass")

    def _redact_parameter(self, part: str) -> str:
        name, equals, _ = part.partition("=")
        return f"{name}={REDACTED}" if equals and _unquote(name) == self.name.encode() else part

    def _redact_path(self, path: str, live: frozenset[bytes]) -> str:
        parts = path.split("/")
        places = [place for place, part in enumerate(parts) if part]
        for number, place in enumerate(places, 1):
            if number == self._number or parts[place].encode("utf-8", "surrogatepass") in live:
                parts[place] = REDACTED
        return "/".join(parts)

    def _redact_body(self, body: bytes, live: frozenset[bytes]) -> bytes:
        """Swap the strings that are a secret; write the whole body anew if that did too much or too little."""
        try:
            wanted = _set(_load(body), self._steps, REDACTED)
            swapped = _swap(body, live)
            return swapped if _is_clean(swapped, wanted, live) else _write(wanted)
        except (NotAuthentic, RecursionError):
            for secret in live:
                body = body.replace(secret, REDACTED.encode())
            return body


_NAMES: Mapping[Location, tuple[str, str]] = {
    "header": (r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", "the name of a header"),
    "query": (r"(?s:.+)", "the name of a query parameter"),
    "body": (r"(?s:(/[^/]+)+)", "a JSON pointer such as /secret"),
    "path": (r"[1-9]?", "the number of a segment, 1 to 9"),
}


def _unusable(location: Location, secret: bytes) -> str | None:
    """Return why this secret can never arrive at such a place, None if it can."""
    if not secret:
        return "must not be empty"
    if location == "header" and not _HEADER.fullmatch(secret):
        return "must be printable ASCII without white space around it: servers do not pass on anything else"
    if location == "path" and not _SEGMENT.fullmatch(secret):
        return "must be one segment: printable ASCII without spaces and slashes"
    if location == "body":
        try:
            secret.decode()
        except UnicodeDecodeError:
            return "must be UTF-8, as JSON text is"
    return None


def _unquote(text: str) -> bytes:
    return unquote_to_bytes(text.replace("+", " ").encode("utf-8", "surrogatepass"))


def _load(body: bytes) -> Payload:
    """Return the JSON object that the body holds. Raises NotAuthentic for everything else."""
    try:
        payload = _DECODER.decode(body.decode("utf-8").removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        payload = _load  # JSON has no such value
    if payload is _load:
        refuse("malformed", "the body, where the secret should be, is not JSON in UTF-8")
    if not isinstance(payload, dict):
        refuse("malformed", "the body, where the secret should be, is not a JSON object")
    return payload


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


_DECODER = json.JSONDecoder(parse_constant=_no_constant)
"""Made once: `json.loads` makes one for every call that has a hook."""


def _write(payload: Payload) -> bytes:
    return json.dumps(payload, separators=(",", ":")).encode()


def _pointed(payload: Payload, steps: Sequence[str]) -> Payload:
    for step in steps:
        payload = payload.get(step) if isinstance(payload, dict) else None
    return payload


def _set(payload: Payload, steps: Sequence[str], value: str) -> Payload:
    """Return a copy with the member set, and the objects around it made where they are missing."""
    if not steps:
        return value
    members = payload if isinstance(payload, dict) else {}
    return {**members, steps[0]: _set(members.get(steps[0]), steps[1:], value)}


def _swap(body: bytes, live: frozenset[bytes]) -> bytes:
    """Return the JSON text with REDACTED for each string that is a secret; the quick way where nothing is escaped."""
    placeholder = f'"{REDACTED}"'.encode()
    if b"\\" in body:
        return _STRING.sub(
            lambda found: found[0] if found[1] or json_text.decoded(found[0]) not in live else placeholder, body
        )
    for secret in live:
        body = body.replace(b'"' + secret + b'"', placeholder)
    return body


def _is_clean(body: bytes, wanted: Payload, live: frozenset[bytes]) -> bool:
    """Tell whether the JSON text says what is wanted, and no secret, not even where a key stands twice."""
    try:
        return bool(_load(body) == wanted) and not any(secret in text for text in _texts(body) for secret in live)
    except NotAuthentic:
        return False


def _texts(body: bytes) -> Iterator[bytes]:
    """Yield the body, and each of its strings that is written with escapes as what it says."""
    yield body
    if b"\\" not in body:
        return
    strings = (match[0].removesuffix(match[1] or b"") for match in _STRING.finditer(body))
    yield from (json_text.decoded(string) for string in strings if b"\\" in string)
