"""Where an event's key and type come from: small written rules, applied to a request and its payload.

Pure functions, but for the id that each request gets from us. The rules are the values of the settings
`event_id` and `event_type`; the first one that finds something wins. Next: `inbox.receive.receiver` puts key and type
into the store.
"""

import os
import re
import secrets
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import parse_qsl

from inbox.core.models import Payload, Request, Verified

MAX_KEY = 200
MAX_TYPE = 200
UNKNOWN_TYPE = "unknown"

RULES = ("json:/POINTER", "header:NAME", "query:NAME", "path", "path:N", "body", "token", "=TEXT")
_RULE = re.compile(r"json:(/.*)|header:[!-~]+|query:.+|path(:[1-9])?|body|token|=.+", re.DOTALL)
REQUEST_ID = re.compile(r"r[0-9a-f]{23}")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def check_rule(rule: str) -> None:
    """Raise ValueError if the rule is not one of RULES."""
    if not _RULE.fullmatch(rule):
        raise ValueError(f"{rule!r} is not a rule; allowed: {', '.join(RULES)}")


def request_id(at: float) -> str:
    """Return a new id for a request that came then: "r", the milliseconds in 11 hex digits, and 12 that nobody guesses.

    In order of time, as long as a screen can show, and never mistaken for an event's number.
    """
    return f"r{int(at * 1000):011x}{_unguessed()}"


def _unguessed() -> str:
    """Return 12 hex digits. Many are fetched at once: a call of the system for each request lets others run first."""
    try:
        return _DIGITS.pop()
    except IndexError:
        many = secrets.token_hex(6 * 256)
        _DIGITS.extend(many[start : start + 12] for start in range(0, len(many), 12))
        return _DIGITS.pop()


_DIGITS: list[str] = []
os.register_at_fork(after_in_child=_DIGITS.clear)  # or its parent would give the same


@lru_cache(maxsize=1024)
def network(remote: str) -> str:
    """Return whose share of what is limited a client address uses: an IPv4 address, or the /64 of an IPv6 one.

    A whole /64 belongs to one customer. A port behind the address, as some proxies write it, does not count. Text that
    is no address is its own share.
    """
    text = remote.partition("]")[0].removeprefix("[") if remote.startswith("[") else remote
    if text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return printable(remote)[:100]
    if not isinstance(address, IPv4Address):
        if address.ipv4_mapped is None:
            return f"{IPv6Address(int(address) >> 64 << 64)}/64"
        address = address.ipv4_mapped
    return str(address)


def content_digest(request: Request) -> bytes:
    """Return the SHA-256 of what the (redacted) request says: its body, and its query where that carries the data.

    Parameters are sorted, so that their order does not matter.
    """
    if request.method in ("GET", "DELETE"):
        pairs = sorted(parse_qsl(request.query, keep_blank_values=True, errors="surrogateescape"))
        return sha256(repr((request.method, pairs)).encode() + request.body).digest()
    return sha256(request.body).digest()


def event_key(rules: Sequence[str], request: Request, payload: Payload, verified: Verified, digest: bytes) -> str:
    """Return the key by which copies of the same event are recognised; `digest` is its content_digest."""
    return _bounded(found) if (found := _decided(rules, request, payload, verified)[1]) else f"sha256:{digest.hex()}"


def deciding_rule(rules: Sequence[str], request: Request, payload: Payload, verified: Verified) -> str:
    """Return the first rule that finds a key; "body" if none does."""
    return _decided(rules, request, payload, verified)[0]


def _decided(rules: Sequence[str], request: Request, payload: Payload, verified: Verified) -> tuple[str, str | None]:
    for rule in rules:
        if rule == "body":
            return rule, None
        found = verified.key if rule == "token" else find(rule, request, payload)
        if found:
            return rule, found
    return "body", None


def event_type(rules: Sequence[str], request: Request, payload: Payload) -> str:
    """Return the event's type, "unknown" if no rule finds one."""
    for rule in rules:
        found = find(rule, request, payload)
        if found:
            return printable(found, MAX_TYPE)
    return UNKNOWN_TYPE


def find(rule: str, request: Request, payload: Payload) -> str | None:
    """Return the text that one rule finds, None if there is none."""
    kind, _, name = rule.partition(":")
    if rule.startswith("="):
        return rule[1:]
    if kind == "json":
        return _text(pointed(payload, name))
    if kind == "header":
        return request.header(name)
    if kind == "query":
        return dict(parse_qsl(request.query, errors="replace")).get(name)
    if kind == "path":
        parts = [part for part in request.path.split("/") if part]
        return "/".join(parts) if not name else next(iter(parts[int(name) - 1 : int(name)]), None)
    return None


def pointed(payload: Payload, pointer: str) -> Payload:
    """Return what a JSON pointer (RFC 6901) names, None if there is nothing."""
    for name in _parts(pointer):
        if isinstance(payload, dict):
            payload = payload.get(name)
        elif isinstance(payload, list) and name.isdecimal() and len(name) < 10 and int(name) < len(payload):
            payload = payload[int(name)]
        else:
            return None
    return payload


@lru_cache(maxsize=256)
def _parts(pointer: str) -> tuple[str, ...]:
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:])


def printable(text: str, most: int | None = None) -> str:
    """Return the text with control characters and lone surrogates written as escapes: it goes into tables and logs.

    With `most`, at most so many characters: what is cut off is not looked at, however long it is.
    """
    text = text[:most]
    if text.isprintable():
        return text
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)[:most]


def _text(value: Payload) -> str | None:
    if isinstance(value, str):
        return value or None
    return str(value) if type(value) is int else None


def _bounded(text: str) -> str:
    safe = printable(text, MAX_KEY + 1)
    return safe if len(safe) <= MAX_KEY else f"sha256:{sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"
