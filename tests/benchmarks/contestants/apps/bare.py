"""A Flask endpoint that reads the body and answers."""

from flask import Flask, request

app = Flask(__name__)


@app.post("/in/roomz")
def receive() -> dict[str, str]:
    request.get_data()
    return {"status": "ok"}
