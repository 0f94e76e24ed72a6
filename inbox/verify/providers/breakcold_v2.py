"""Breakcold, current webhooks: CRM events, signed over timestamp and raw body.

Needs       the signing secret of the outbound webhook (Settings > Webhook > Send) in `secrets`
Proves      header `X-Webhook-Signature`: `sha256=` and hex of HMAC-SHA256 over `{X-Webhook-Timestamp}.{body}`. The
            headers `X-Webhook-Event` and `X-Webhook-Delivery-Id` are not signed, so key and type come from the body
            where it has them
Answers     200 accepted, duplicate, conflict or quarantined · 400/422 with on_invalid = "reject" · 401 signature
            missing, malformed or wrong, timestamp out of tolerance · 405 not POST · 413 over max_body · 503 store not
            available
Failure     any status but 2xx is a failed delivery; 10 s time-out; three attempts in all, the later two after about 5 s
            and 30 s; the endpoint is disabled after 50 failures in a row
Sources     docs.breakcold.com/api/webhooks

Not documented: how old a timestamp may be, whether attempts keep theirs, and how the secret becomes a key (its UTF-8
bytes here). Attempts that keep it end 65 s after it (10 + 5 + 10 + 30 + 10), so `tolerance` is 300 s: all of that, and
four minutes for clocks. A body without `eventId` has its key from X-Webhook-Delivery-Id, which is not signed: the same
body under another one is a conflict.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from inbox.core.models import Payload, Request, iso
from inbox.verify.providers.base import Provider
from inbox.verify.schemes.hmac import Hmac

_DEFAULT = "record.created"


@dataclass(frozen=True, kw_only=True)
class BreakcoldV2(Provider):
    """Breakcold webhooks with a signature. `tolerance` is in seconds."""

    name: ClassVar[str] = "breakcold_v2"
    published: ClassVar[str] = "https://docs.breakcold.com/api/webhooks"
    retries_for: ClassVar[float | None] = 65.0
    deadline: ClassVar[float | None] = 10.0

    tolerance: float = 300.0
    event_id: tuple[str, ...] = ("json:/eventId", "header:X-Webhook-Delivery-Id")
    event_type: tuple[str, ...] = ("json:/event", "header:X-Webhook-Event")

    @cached_property
    def verifier(self) -> Hmac:
        """Return HMAC-SHA256 in hex over timestamp and body."""
        return Hmac(
            header="X-Webhook-Signature",
            prefix="sha256=",
            signed="{timestamp}.{body}",
            timestamp_header="X-Webhook-Timestamp",
            tolerance=self.tolerance,
        )

    def sample(self, event_type: str, *, id: str, at: float) -> Payload:
        """Return a new record of a person, or what the event's family carries: note, task, relation, call, file."""
        return {
            "eventId": id,
            "timestamp": iso(at),
            "workspaceId": "workspace_id",
            "event": event_type or _DEFAULT,
            "data": _data(event_type or _DEFAULT, iso(at)),
        }

    def compose(self, payload: bytes, event_type: str, *, id: str, at: float) -> Request:
        """Return a request with the headers that name event and delivery."""
        request = super().compose(payload, event_type, id=id, at=at)
        return request.with_headers({"X-Webhook-Event": event_type or _DEFAULT, "X-Webhook-Delivery-Id": id})


def _data(event_type: str, time: str) -> Payload:
    if event_type == "record.deleted":
        return {"id": "record_id", "deleted": True}
    about = {"recordId": "record_id"}
    times = {"createdAt": time, "updatedAt": time}
    families: Mapping[str, Payload] = {
        "note": {**about, "noteId": "note_id", "title": "First call", "contentPlain": "Likes engines.", **times},
        "task": {**about, "taskId": "task_id", "title": "Send proposal", "status": "done", "dueAt": time},
        "relation": {
            "sourceRecordId": "record_id",
            "targetRecordId": "other_record_id",
            "fieldDefinitionId": "field_id",
            "fieldSlug": "company",
        },
        "call": {**about, "callId": "call_id", "recordName": "Ada Lovelace", "meetingTitle": "First call"},
        "file": {**about, "fileName": "proposal.pdf"},
    }
    fields = {"name": "Ada Lovelace", "email": "ada@example.com", "company": "Analytical Engines Ltd"}
    record = {"id": "record_id", "objectType": "person", "objectTypeName": "Person", "name": "Ada Lovelace"}
    return families.get(event_type.partition(".")[0], {**record, "fields": fields, **times})
