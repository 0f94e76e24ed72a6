"""The one table of HTTP statuses. Accepted requests answer with their source's ack_status."""

from collections.abc import Mapping

from inbox.core.errors import (
    BodyTooLarge,
    InboxError,
    Incomplete,
    Invalid,
    Malformed,
    MethodNotAllowed,
    NotAuthentic,
    StoreChanged,
    StoreUnavailable,
    StoreUnusable,
    TooSlow,
    UnknownSource,
)

STATUSES: Mapping[type[InboxError], int] = {
    Malformed: 400,
    Incomplete: 400,
    NotAuthentic: 401,
    UnknownSource: 404,
    MethodNotAllowed: 405,
    TooSlow: 408,
    BodyTooLarge: 413,
    Invalid: 422,
    StoreUnavailable: 503,
    StoreUnusable: 503,
    StoreChanged: 503,
}

RETRY_AFTER = 5
"""Seconds, in the Retry-After header of every 503."""
