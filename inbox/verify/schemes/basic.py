"""HTTP Basic (RFC 7617): user name and password in the header `Authorization` → Verified or NotAuthentic.

The configured secrets are the passwords. It proves nothing about the body. Next: `inbox.receive.receiver`.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from inbox.core.models import Request, Secret, Verified
from inbox.verify.schemes.base import Verifier, compare, header_bytes, redact_headers, refuse


@dataclass(frozen=True, kw_only=True)
class Basic(Verifier):
    """HTTP Basic; `username` may be empty, and both are compared as UTF-8."""

    username: str

    def verify_head(self, request: Request, secrets: Sequence[Secret], *, at: float) -> Verified:
        """Compare user name and password, both in every case."""
        user, password = _read(request)
        known = compare(user, self.username.encode())
        for index, secret in enumerate(secrets):
            if compare(password, secret.reveal()) & known:
                return Verified("basic", index)
        if not known:
            refuse("mismatch", "the user name is another than username")
        if any(compare(password, secret.reveal().strip()) for secret in secrets):
            refuse("mismatch", "the password fits the secret without the white space around it: correct the secret")
        refuse("mismatch", "the user name fits, the password fits none of the configured secrets")

    def sign(self, request: Request, secret: Secret, *, at: float) -> Request:
        """Return the request with user name and password."""
        credentials = base64.b64encode(self.username.encode() + b":" + secret.reveal())
        return request.with_headers({"authorization": f"Basic {credentials.decode()}"})

    def redact(self, request: Request, secrets: Sequence[Secret]) -> Request:
        """Return the request without the password."""
        return redact_headers(request, ("authorization",))

    def covers(self, rule: str) -> bool:
        """Tell that there is nothing to bind: whoever captured a request has the password."""
        return True

    def check(self, secrets: Sequence[Secret]) -> None:
        """Raise ValueError if the user name cannot be sent, or a password is empty."""
        if ":" in self.username:
            raise ValueError("username cannot contain a colon: it ends the user name (RFC 7617)")
        if not all(secret.reveal() for secret in secrets):
            raise ValueError("a secret is empty")


def _read(request: Request) -> tuple[bytes, bytes]:
    scheme, _, text = header_bytes(request, "Authorization").partition(b" ")
    if scheme.lower() != b"basic":
        refuse("malformed", "the header Authorization is not of the scheme Basic")
    try:
        credentials = base64.b64decode(text.strip(), validate=True)
    except ValueError:
        refuse("malformed", "the credentials in the header Authorization are not base64")
    user, colon, password = credentials.partition(b":")
    if not colon:
        refuse("malformed", "the credentials in the header Authorization have no colon after the user name")
    return user, password
