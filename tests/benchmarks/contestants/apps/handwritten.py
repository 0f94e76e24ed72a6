"""A webhook endpoint as one writes it by hand: verify, parse, validate, insert, commit, enqueue, answer."""

import hmac
import json
import os
import sqlite3
import threading
from base64 import b64encode
from pathlib import Path
from typing import Any

from flask import Flask, request
from huey import SqliteHuey
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

SECRET = os.environ["ROOMZ_WEBHOOK_SECRET"].encode()
SCHEMAS = {path.name: json.loads(path.read_text()) for path in Path("schemas").glob("*.json")}
REGISTRY: Any = Registry().with_resources((name, Resource.from_contents(schema)) for name, schema in SCHEMAS.items())
VALIDATOR = Draft202012Validator(SCHEMAS["workspace.presence.changed.json"], registry=REGISTRY)

app = Flask(__name__)
huey = SqliteHuey(filename="huey.db")
local = threading.local()


def database() -> sqlite3.Connection:
    if not hasattr(local, "connection"):
        local.connection = sqlite3.connect("events.db", timeout=30)
        local.connection.execute("PRAGMA journal_mode = WAL")
        local.connection.execute("PRAGMA synchronous = FULL")
        local.connection.execute(
            "CREATE TABLE IF NOT EXISTS events (id INTEGER PRIMARY KEY, key TEXT UNIQUE, body BLOB)"
        )
    found: sqlite3.Connection = local.connection
    return found


@huey.task()
def handle(event_id: int) -> None:
    """Do nothing."""


@app.post("/in/roomz")
def receive() -> tuple[dict[str, Any], int]:
    body = request.get_data()
    expected = b64encode(hmac.digest(SECRET, body, "sha512"))
    if not hmac.compare_digest(expected, request.headers.get("Roomz-Signature", "").encode()):
        return {"error": "not_authentic"}, 401
    try:
        payload = json.loads(body)
    except ValueError:
        return {"error": "malformed"}, 400
    if not VALIDATOR.is_valid(payload):
        return {"error": "invalid"}, 422
    connection = database()
    with connection:
        sql = "INSERT INTO events (key, body) VALUES (?, ?) ON CONFLICT (key) DO NOTHING RETURNING id"
        row = connection.execute(sql, (payload["id"], body)).fetchone()
    if row is None:
        return {"status": "duplicate"}, 200
    handle(row[0])
    return {"status": "accepted", "id": row[0]}, 200
