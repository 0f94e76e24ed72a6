"""The shipped schemas: what the senders publish is valid, what is broken is not, each file says where it is from."""

import json
from pathlib import Path
from typing import Any

import pytest

from inbox.core.models import REDACTED
from inbox.verify.schemas import DIALECT, FORMATS, Schemas, parse

ROOT = Path(__file__).parents[3]
SAMPLES = Path(__file__).parents[2] / "samples"
FOLDER = ROOT / "schemas"
FILES = sorted(FOLDER.rglob("*.json"))
SCHEMAS = Schemas(FOLDER)

ROOMZ = {"id": "e1", "type": "workspace.presence.changed", "timestamp": "2024-05-21T08:22:32.452Z"}
PRESENCE = {"workspaceId": "w1", "presenceStatus": "Free"}
MAIL = {"email": "a@example.com"}
LEAD = {"id_space": "s1", "event": "lead.create", "secret": REDACTED}
RECORD = {"eventId": "evt_1", "timestamp": "2026-03-19T12:00:00.000Z", "workspaceId": "w1"}
CHANGE = {"company_id": 12, "data_model": "INVOICES", "type": "CREATE"}

PUBLISHED = (
    ("roomz", "workspace.presence.changed", "presence_changed"),
    ("roomle", "email.savedConfiguration", "saved_configuration"),
    ("breakcold", "lead.create", "lead_create"),
    ("breakcold_v2", "record.created", "record_created"),
    ("breakcold_v2", "task.completed", "task_completed"),
    ("lemlist", "emailsSent", "emails_sent"),
    ("rootfi", "DATA_MODEL_CHANGES.ACCOUNTS.UPDATE", "data_model_changes"),
    ("rootfi", "CONNECTION_CHANGED", "connection_changed"),
)

VALID: tuple[tuple[str, str, Any], ...] = (
    ("roomz", "workspace.presence.changed", {**ROOMZ, "data": {**PRESENCE, "presenceStatus": "busy"}}),
    ("roomz", "workspace.presence.changed", {**ROOMZ, "apiVersion": 2, "data": {**PRESENCE, "presenceStatus": "FREE"}}),
    ("roomz", "desk.moved", {**ROOMZ, "type": "desk.moved", "data": {}}),
    ("roomle", "email.shareConfiguration", {"event": "email.shareConfiguration", "data": MAIL}),
    ("roomle", "email.shareConfigurationAR", {"event": "x", "data": {**MAIL, "itemId": "i", "configurationId": None}}),
    ("roomle", "email.3DExportAsset", {"event": "x", "data": {**MAIL, "success": False, "resultUrl": "https://x/y"}}),
    ("roomle", "price.requested", {"event": "price.requested", "data": {}}),
    ("breakcold", "lead.create", {**LEAD, "payload": {"id": "l1", "company_enrich": None}}),
    ("breakcold", "lead.task.create", {**LEAD, "event": "lead.task.create", "payload": {"title": "call"}}),
    ("breakcold", "deal.create", {**LEAD, "event": "deal.create", "payload": {}}),
    ("breakcold_v2", "record.deleted", {**RECORD, "event": "record.deleted", "data": {"id": "r", "deleted": True}}),
    (
        "breakcold_v2",
        "relation.added",
        {**RECORD, "event": "relation.added", "data": {"sourceRecordId": "a", "targetRecordId": "b"}},
    ),
    ("breakcold_v2", "note.created", {**RECORD, "event": "x", "data": {"noteId": "n", "recordId": "r", "title": None}}),
    ("breakcold_v2", "call.linked", {**RECORD, "event": "x", "data": {"recordId": "r", "callId": "c"}}),
    ("breakcold_v2", "file.deleted", {**RECORD, "event": "x", "data": {"recordId": "r", "fileName": "offer.pdf"}}),
    ("breakcold_v2", "list.created", {**RECORD, "event": "list.created", "data": {}}),
    ("lemlist", "enrichmentDone", {"type": "enrichmentDone", "data": [{"id": "x"}]}),
    ("lemlist", "sendLimitReached", {"type": "sendLimitReached", "secret": REDACTED}),
    ("lemlist", "brandNew", {"type": "brandNew"}),
    ("rootfi", "DATA_MODEL_CHANGES.INVOICES.DELETE", {**CHANGE, "type": "DELETE", "data": None}),
    ("rootfi", "DATA_MODEL_CHANGES", {"company_id": "12", "event": "invoice.create"}),
    ("rootfi", "SYNC_COMPLETED", {"syncId": "s1", "failed": []}),
    ("rootfi", "unknown", {}),
    ("romify", "COMPLETED_FLOW_ALL_CHANGES", {"id": "lead", "answers": [1, None, {"a": "b"}]}),
    ("romify", "EVENT_STARTS", {"id": "event", "status": "LIVE"}),
    ("romify", "unknown", {"romify_type": REDACTED}),
    ("standard_webhooks", "unknown", {"test": 2432232314}),
    ("standard_webhooks", "invoice.paid", {"type": "invoice.paid", "timestamp": "2022-11-03T20:26:10Z", "data": {}}),
)

BROKEN: tuple[tuple[str, str, Any, str], ...] = (
    *((provider, "unknown", [], "") for provider in sorted({path.parent.name for path in FILES})),
    ("roomz", "x", {**ROOMZ, "id": "", "data": {}}, "/id"),
    ("roomz", "x", {"id": "e1", "type": "x", "data": {}}, ""),
    ("roomz", "unknown", {"id": "e1", "timestamp": "t", "data": {}}, ""),
    ("roomz", "workspace.presence.changed", ROOMZ, ""),
    ("roomz", "workspace.presence.changed", {**ROOMZ, "data": []}, "/data"),
    ("roomz", "workspace.presence.changed", {**ROOMZ, "data": {"presences": [], "workspaceId": "w"}}, "/data"),
    ("roomz", "workspace.presence.changed", {**ROOMZ, "data": {**PRESENCE, "workspaceId": 7}}, "/data/workspaceId"),
    (
        "roomz",
        "workspace.presence.changed",
        {**ROOMZ, "data": {**PRESENCE, "presenceStatus": "away"}},
        "/data/presenceStatus",
    ),
    (
        "roomz",
        "workspace.presence.changed",
        {**ROOMZ, "data": {**PRESENCE, "presenceStatus": "Busy\n"}},
        "/data/presenceStatus",
    ),
    ("roomle", "unknown", {"data": {}}, ""),
    ("roomle", "email.savedConfiguration", {"event": "email.savedConfiguration"}, ""),
    ("roomle", "email.savedConfiguration", {"event": "x", "data": "a@example.com"}, "/data"),
    ("roomle", "email.savedConfiguration", {"event": "x", "data": {"success": True}}, "/data"),
    ("roomle", "email.savedConfiguration", {"event": "x", "data": {**MAIL, "success": "yes"}}, "/data/success"),
    ("roomle", "email.savedConfiguration", {"event": "x", "data": {**MAIL, "url": 1}}, "/data/url"),
    ("breakcold", "lead.create", {"event": "lead.create", "payload": {"id": "l"}}, ""),
    ("breakcold", "lead.create", LEAD, ""),
    ("breakcold", "lead.create", {**LEAD, "payload": None}, "/payload"),
    ("breakcold", "lead.create", {**LEAD, "payload": {}}, "/payload"),
    ("breakcold", "lead.create", {**LEAD, "payload": {"id": "l", "email": ["a@example.com"]}}, "/payload/email"),
    ("breakcold", "12", {**LEAD, "event": 12, "payload": {}}, "/event"),
    ("breakcold_v2", "record.created", {**RECORD, "event": "record.created"}, ""),
    ("breakcold_v2", "record.created", {**RECORD, "event": "record.created", "data": {"name": "Ada"}}, "/data"),
    ("breakcold_v2", "record.created", {**RECORD, "event": "x", "data": {"id": "r", "fields": []}}, "/data/fields"),
    ("breakcold_v2", "relation.removed", {**RECORD, "event": "x", "data": {"sourceRecordId": "a"}}, "/data"),
    ("breakcold_v2", "note.updated", {**RECORD, "event": "x", "data": {"noteId": None}}, "/data/noteId"),
    ("breakcold_v2", "task.created", {**RECORD, "event": "x", "data": {"taskId": "t", "dueAt": 5}}, "/data/dueAt"),
    ("breakcold_v2", "call.unlinked", {**RECORD, "event": "x", "data": {"recordId": "r"}}, "/data"),
    ("breakcold_v2", "file.uploaded", {**RECORD, "event": "x", "data": {"fileName": "x"}}, "/data"),
    ("breakcold_v2", "x", {**RECORD, "eventId": 1, "event": "x", "data": {}}, "/eventId"),
    ("lemlist", "unknown", {"_id": "act_1"}, ""),
    ("lemlist", "emailsReplied", {"type": "emailsReplied"}, ""),
    ("lemlist", "linkedinReplied", {"type": "linkedinReplied", "_id": 5}, "/_id"),
    ("lemlist", "emailsReplied", {"type": "emailsReplied", "_id": "act_1", "leadEmail": {}}, "/leadEmail"),
    ("rootfi", "DATA_MODEL_CHANGES.INVOICES.CREATE", {"data_model": "INVOICES", "type": "CREATE"}, ""),
    ("rootfi", "DATA_MODEL_CHANGES", {"company_id": 12, "data_model": "INVOICES"}, ""),
    ("rootfi", "DATA_MODEL_CHANGES.INVOICES.CREATE", {**CHANGE, "company_id": {}}, "/company_id"),
    ("rootfi", "DATA_MODEL_CHANGES.INVOICES.CREATE", {**CHANGE, "data": "row"}, "/data"),
    ("rootfi", "CONNECTION_CHANGED", {"company_id": None}, "/company_id"),
    ("romify", "COMPLETED_FLOW_ALL_CHANGES", "lead", ""),
    ("romify", "EVENT_ENDS", None, ""),
    ("standard_webhooks", "invoice.paid", "text", ""),
)


@pytest.mark.parametrize(("provider", "event_type", "case"), PUBLISHED)
@pytest.mark.parametrize("formats", ["annotate", "assert"])
def test_published_examples_are_valid(provider: str, event_type: str, case: str, formats: str) -> None:
    """What a sender publishes as an example matches, whether formats count or not."""
    payload = parse((SAMPLES / provider / f"{case}.json").read_bytes())
    assert () == SCHEMAS.violations(provider, event_type, payload, formats=formats)


@pytest.mark.parametrize(("provider", "event_type", "case"), PUBLISHED)
def test_unknown_fields_are_valid(provider: str, event_type: str, case: str) -> None:
    """A field that the sender adds some day does not stop events, in the envelope and one level below."""
    payload = parse((SAMPLES / provider / f"{case}.json").read_bytes())
    inner = {key: {**value, "added": [None]} if isinstance(value, dict) else value for key, value in payload.items()}
    assert () == SCHEMAS.violations(provider, event_type, {**inner, "added": {"later": 1}})


@pytest.mark.parametrize(("provider", "event_type", "payload"), VALID)
def test_documented_variants_are_valid(provider: str, event_type: str, payload: Any) -> None:
    """What the sources state about types without an example, nulls and new types matches."""
    assert () == SCHEMAS.violations(provider, event_type, payload)


@pytest.mark.parametrize(("provider", "event_type", "payload", "pointer"), BROKEN)
def test_broken_payloads_are_named_by_pointer(provider: str, event_type: str, payload: Any, pointer: str) -> None:
    """A payload that no handler could use is a violation at the place where it breaks, and nowhere else."""
    assert {pointer} == {violation.pointer for violation in SCHEMAS.violations(provider, event_type, payload)}


def test_every_provider_accepts_an_unknown_type() -> None:
    """The table of valid payloads has a type without a file of its own for each provider."""
    unknown = {provider for provider, name, _ in VALID if SCHEMAS.file(provider, name) == f"{provider}/default.json"}
    assert {path.parent.name for path in FILES} == unknown


def test_every_file_is_chosen_by_a_case() -> None:
    """No schema file is left that none of the cases here uses."""
    chosen = {SCHEMAS.file(*case[:2]) for case in (*PUBLISHED, *VALID, *BROKEN)}
    assert {path.relative_to(FOLDER).as_posix() for path in FILES if not path.name.startswith("_")} == chosen


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_every_file_says_what_it_is(path: Path) -> None:
    """A schema begins with its dialect, a title, one sentence of description and a comment with its source."""
    schema = json.loads(path.read_bytes())
    assert ["$schema", "title", "description", "$comment"] == list(schema)[:4]
    assert DIALECT == schema["$schema"]
    assert schema["description"].endswith(".")
    assert "Source" in schema["$comment"]


def test_guide_lists_the_formats_that_are_checked() -> None:
    """schemas/README.md names exactly the formats that are checked without further packages."""
    guide = (FOLDER / "README.md").read_text("utf-8")
    [listed] = [line.split() for line in guide.splitlines() if line.startswith("    date ")]
    optional = {
        "color",
        "duration",
        "hostname",
        "idn-hostname",
        "iri",
        "iri-reference",
        "json-pointer",
        "relative-json-pointer",
        "time",
        "uri",
        "uri-reference",
        "uri-template",
    }
    assert listed == sorted(set(FORMATS.checkers) - optional)
