"""knockerlite behind a Flask endpoint; its worker is a thread of the same process, with a handler that does nothing."""

import asyncio
import json
import os
import threading
import time
from typing import Any

import knocker
from flask import Flask, request

ENDPOINT = "roomz"


def opened() -> Any:
    inbox = knocker.open("knocker.db")
    if os.environ["SYNCHRONOUS"]:
        with inbox.db.transaction() as transaction:  # the setting cannot change inside one, so it is ended for it
            transaction.query("COMMIT")
            transaction.query(f"PRAGMA synchronous = {os.environ['SYNCHRONOUS']}")
            transaction.query("BEGIN IMMEDIATE")
    secret = os.environ["ROOMZ_WEBHOOK_SECRET"]
    verification = {"kind": "hmac-sha256", "header": "X-Signature", "secret": secret, "prefix": "sha256="}
    inbox.add_endpoint(name=ENDPOINT, path="/in/roomz", verification=verification)
    return inbox


async def work() -> None:
    inbox.add_handler(endpoint=ENDPOINT, handler=lambda event, transaction: None)
    while True:
        try:
            await inbox.run_worker()
        except Exception as error:
            print(repr(error), flush=True)  # noqa: T201 – its log
            time.sleep(0.1)


app = Flask(__name__)

inbox = opened()
threading.Thread(target=lambda: asyncio.run(work()), daemon=True).start()


@app.post("/in/roomz")
def receive() -> tuple[dict[str, Any], int]:
    body = request.get_data()
    try:
        payload = json.loads(body)
    except ValueError:
        return {"error": "malformed"}, 400
    result = inbox.receive(
        endpoint=ENDPOINT,
        body=body,
        headers=dict(request.headers),
        query=request.args.to_dict(),
        event_type=payload["type"],
        provider_event_id=payload["id"],
    )
    return {"status": "duplicate" if result.duplicate else "accepted", "id": result.event_id}, result.status_code
