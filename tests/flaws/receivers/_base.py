"""A small webhook receiver without the defects; each file beside this one brings one of them in.

Contract: POST /in/acme, signed with HMAC-SHA256 over `{timestamp}.{body}`. The event is a row before it is answered, a
worker thread does the work, and what is not done is found again at start. Standard library only.
"""

import hashlib
import hmac
import json
import os
import sqlite3
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from _effects import NEWEST, work

Headers = dict[str, str]
Event = dict[str, Any]


class Refused(Exception):
    """The request is not accepted: a status and a word."""


class Receiver:
    """Verify, parse, record, wake; then work. A flaw overrides one of them."""

    unique = "CREATE UNIQUE INDEX IF NOT EXISTS one_per_id ON events (id)"
    keep = NEWEST
    tolerance = 300

    def __init__(self, folder: Path, secret: str) -> None:
        self.folder, self.secret = folder, secret
        self.lock = threading.RLock()
        self.waiting: SimpleQueue[int] = SimpleQueue()
        self.database = sqlite3.connect(folder / "events.db", isolation_level=None, check_same_thread=False)
        self.sql("PRAGMA journal_mode = WAL")
        self.sql("PRAGMA synchronous = FULL")
        self.sql("CREATE TABLE IF NOT EXISTS events (number INTEGER PRIMARY KEY, id TEXT, body TEXT, status TEXT)")
        self.sql(self.unique)
        self.sql("UPDATE events SET status = 'new' WHERE status = 'running'")
        self.sweep()
        threading.Thread(target=self.run, daemon=True).start()

    def sql(self, statement: str, *values: Any) -> list[Any]:
        with self.lock:
            return self.database.execute(statement, values).fetchall()

    def receive(self, headers: Headers, body: bytes) -> tuple[int, str]:
        try:
            self.verify(headers, body)
            return 200, self.accept(self.parse(body))
        except Refused as refused:
            self.log_refusal(headers, body, *refused.args)
            return refused.args

    def verify(self, headers: Headers, body: bytes) -> None:
        given, stamp = headers.get("x-acme-signature", ""), headers.get("x-acme-timestamp", "")
        if not hmac.compare_digest(given.encode(), self.signature(stamp, body).encode()):
            raise Refused(401, "not_authentic")
        if not stamp.isdigit() or abs(time.time() - int(stamp)) > self.tolerance:
            raise Refused(401, "not_authentic")

    def signature(self, stamp: str, body: bytes) -> str:
        return hmac.new(self.secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()

    def parse(self, body: bytes) -> Event:
        try:
            event = json.loads(body)
            return {"id": str(event["id"]), "version": int(event["version"]), **event}
        except (ValueError, KeyError, TypeError, RecursionError):
            raise Refused(400, "malformed") from None

    def accept(self, event: Event) -> str:
        """Record the event and wake the worker; a copy of one that is not done wakes it again."""
        if self.record(event):
            return "accepted"
        for number, status in self.sql("SELECT number, status FROM events WHERE id = ?", event["id"]):
            if status == "new":
                self.waiting.put(number)
        return "duplicate"

    def record(self, event: Event) -> bool:
        """Insert the event; False if the index says that it is there. Committed when this returns."""
        statement = "INSERT INTO events (id, body, status) VALUES (?, ?, 'new') ON CONFLICT DO NOTHING RETURNING number"
        rows = self.sql(statement, event["id"], json.dumps(event))
        for row in rows:
            self.waiting.put(row[0])
        return bool(rows)

    def sweep(self) -> None:
        for row in self.sql("SELECT number FROM events WHERE status = 'new' ORDER BY number"):
            self.waiting.put(row[0])

    def run(self) -> None:
        claim = "UPDATE events SET status = 'running' WHERE number = ? AND status = 'new' RETURNING body"
        while True:
            number = self.waiting.get()
            for row in self.sql(claim, number):
                self.work(json.loads(row[0]))
                self.sql("UPDATE events SET status = 'done' WHERE number = ?", number)

    def work(self, event: Event) -> None:
        work(self.folder, event, self.keep)

    def log_refusal(self, headers: Headers, body: bytes, status: int, why: str) -> None:
        self.log(f"refused status={status} why={why}")

    def log(self, line: str) -> None:
        sys.stderr.write(line + "\n")


def serve(kind: type[Receiver]) -> None:
    """Answer on the port until killed, or until whoever started this is gone (which closes standard input)."""
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    receiver = kind(folder, os.environ["ACME_SECRET"])

    class Endpoint(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            try:
                status, word = receiver.receive({k.lower(): v for k, v in self.headers.items()}, body)
            except Exception as error:
                receiver.log(f"failed error={type(error).__name__}")
                status, word = 500, "internal_error"
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps({"status" if status == 200 else "error": word}).encode())

        def log_message(self, *arguments: Any) -> None:
            pass

    ThreadingHTTPServer.request_queue_size = 128
    server = ThreadingHTTPServer(("127.0.0.1", port), Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    serve(Receiver)
