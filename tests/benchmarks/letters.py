"""Requests, signed beforehand and written to files that `letters.lua` reads: each has an event id of its own.

All contestants get the same bytes. A request carries two signatures, ROOMZ's (HMAC-SHA512, base64) and one that
Debian's webhook and knockerlite can check (HMAC-SHA256, hex).
"""

import hmac
import json
import secrets
import uuid
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PATH = "/in/roomz"
TYPE = "workspace.presence.changed"
WORKSPACE = "e6ae112e-2af3-4d72-894b-03435d7afde4"


@dataclass
class Letters:
    """Files of requests in a folder, one per body size; they grow on demand and are used again by every run."""

    folder: Path
    secret: str = ""
    _counts: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        kept = self.folder / "secret"
        if not kept.exists():
            kept.write_text(secrets.token_hex(16))
        self.secret = kept.read_text()

    def ensure(self, kib: int, count: int) -> Path:
        """Return the file with bodies of so many KiB, with at least `count` requests in it."""
        path = self.folder / f"{kib}k.letters"
        missing = count - self._count(path, kib)
        if missing > 0:
            with path.open("ab") as file:
                for _ in range(missing):
                    headers, body = self.letter(kib * 1024)
                    rest = "".join(f"{name}: {value}\r\n" for name, value in headers).encode() + b"\r\n" + body
                    file.write(b"%08d\n" % len(rest) + rest)
            self._counts[kib] += missing
        return path

    def _count(self, path: Path, kib: int) -> int:
        if kib not in self._counts:
            self._counts[kib] = sum(1 for _ in _records(path)) if path.exists() else 0
        return self._counts[kib]

    def letter(self, size: int, event_id: str = "") -> tuple[list[tuple[str, str]], bytes]:
        """Return the headers and the body of a fresh request; the body has exactly `size` bytes."""
        body = payload(size, event_id or str(uuid.uuid4()))
        key = self.secret.encode()
        headers = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("Roomz-Signature", b64encode(hmac.digest(key, body, "sha512")).decode()),
            ("X-Signature", f"sha256={hmac.digest(key, body, 'sha256').hex()}"),
        ]
        return headers, body


def payload(size: int, event_id: str) -> bytes:
    """Return a ROOMZ presence change of exactly `size` bytes."""
    content = {
        "id": event_id,
        "type": TYPE,
        "timestamp": "2026-01-01T00:00:00Z",
        "apiVersion": "1.0",
        "data": {"workspaceId": WORKSPACE, "presenceStatus": "Busy", "note": ""},
    }
    empty = json.dumps(content)
    return empty.replace('"note": ""', f'"note": "{"x" * (size - len(empty))}"').encode()


def _records(path: Path) -> Iterator[int]:
    with path.open("rb") as file:
        while size := file.read(9):
            file.seek(int(size), 1)
            yield int(size)
