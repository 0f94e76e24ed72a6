"""A hostile payload against a real server: nobody else waits for it, and nothing is lost."""

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.support.place import PATIENCE, Place

SOURCES = """
[sources.evil]
provider = "unsigned"
event_id = ["json:/id"]
event_type = ["json:/type"]

[sources.acme]
provider = "hmac"
header = "Stripe-Signature"
signed = "{timestamp}.{body}"
list_keys = ["t", "v1"]
secrets = ["env:ROOMZ_WEBHOOK_SECRET"]
"""
DEEPER = {"properties": {"a": {"$ref": "#/$defs/n"}}}
TREE = {"anyOf": [{"required": ["x"], **DEEPER}, DEEPER]}
SCHEMAS = {
    "pattern": {"properties": {"name": {"pattern": "^(a+)+$"}}},
    "unique": {"properties": {"list": {"uniqueItems": True}}},
    "tree": {"properties": {"tree": {"$ref": "#/$defs/n"}}, "$defs": {"n": TREE}},
}


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("bounded"))
    place.configure(sources=SOURCES)
    (place.folder / "schemas" / "unsigned").mkdir()
    for name, schema in SCHEMAS.items():
        (place.folder / "schemas" / "unsigned" / f"{name}.json").write_text(json.dumps(schema))
    place.start()
    yield place
    place.close()


def post(place: Place, source: str, payload: Any, **headers: str) -> tuple[int, Any]:
    with closing(http.client.HTTPConnection("127.0.0.1", place.port, timeout=PATIENCE)) as connection:
        body = json.dumps(payload).encode()
        connection.request("POST", f"/in/{source}", body, {"Content-Type": "application/json", **headers})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def nested(levels: int) -> Any:
    tree: Any = {}
    for _ in range(levels):
        tree = {"a": tree}
    return tree


def test_receiver_goes_on_whatever_is_to_be_checked(place: Place) -> None:
    """A pattern, a long list and a tree that took minutes: each event is stored, and `/healthz` answers meanwhile."""
    found: dict[str, tuple[int, Any]] = {}
    payloads: dict[str, Any] = {
        "pattern": {"name": "a" * 35 + "!"},
        "unique": {"list": [{"n": number} for number in range(5000)]},
        "tree": {"tree": nested(90)},
    }

    def send(name: str) -> None:
        found[name] = post(place, "evil", {"id": name, "type": name, **payloads[name]})

    threads = [threading.Thread(target=send, args=(name,)) for name in payloads]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        with closing(http.client.HTTPConnection("127.0.0.1", place.port, timeout=PATIENCE)) as connection:
            connection.request("GET", "/healthz")
            assert 200 == connection.getresponse().status
    assert time.monotonic() - begun < PATIENCE
    assert {"pattern": 200, "unique": 200, "tree": 200} == {name: status for name, (status, _) in found.items()}
    said = {name: answer["status"] for name, (_, answer) in found.items()}
    assert {"pattern": "quarantined", "unique": "accepted", "tree": "quarantined"} == said
    assert "not checked in time against unsigned/tree.json" in place.inbox("show", str(found["tree"][1]["id"])).stdout
    assert place.inbox("replay", str(found["tree"][1]["id"]), "--yes", "--force").returncode == 0


def test_forged_requests_are_refused_and_only_some_are_explained(place: Place) -> None:
    """900 signatures each; all are refusals in the store, and the cause is looked for of the first in a second."""
    wrong = ",".join(["t=1", *["v1=" + "00" * 32] * 900])
    begun = time.monotonic()
    for number in range(30):
        answer = post(place, "acme", {"id": number, "list": list(range(3000))}, **{"Stripe-Signature": wrong})
        assert (401, {"error": "not_authentic"}) == answer
    assert time.monotonic() - begun < PATIENCE
    assert 30 == len(place.json("refusals", "acme", "--limit", "100"))


def test_check_names_a_pattern_that_goes_back(place: Place) -> None:
    """A warning, and no failure; the doctor says it, too."""
    (place.folder / "schemas" / "unsigned" / "back.json").write_text('{"pattern": "^(?!a)b"}')
    checked = place.inbox("check")
    assert "warning: schemas/unsigned/back.json: the pattern '^(?!a)b' goes back and forth" in checked.stderr
    assert "unsigned/back.json: the pattern '^(?!a)b' goes back" in " ".join(
        place.inbox("doctor", ok=False).stdout.split()
    )
    (place.folder / "schemas" / "unsigned" / "back.json").write_text('{"pattern": "a\\\\Z"}')
    checked = place.inbox("check", ok=False)
    assert (1, True) == (checked.returncode, "unsigned/back.json: not a valid schema at /pattern" in checked.stderr)
