"""No authentication at all: believes every request. Only for senders that cannot do better, and only when said."""

from collections.abc import Sequence

from inbox.core.models import Request, Secret, Verified
from inbox.verify.schemes.base import ByHead, Verifier


class UnsignedScheme(Verifier):
    """Believes everything."""

    def verify_head(self, request: Request, secrets: Sequence[Secret], *, at: float) -> ByHead:
        """Believe the request, but not by its headers: nothing proves who sends."""
        return lambda whole: Verified("unsigned")

    def sign(self, request: Request, secret: Secret, *, at: float) -> Request:
        """Return the request unchanged."""
        return request

    def redact(self, request: Request, secrets: Sequence[Secret]) -> Request:
        """Return the request unchanged: it holds no credentials."""
        return request

    def covers(self, rule: str) -> bool:
        """Tell that there is nothing to bind: anybody can send anything."""
        return True

    def check(self, secrets: Sequence[Secret]) -> None:
        """Raise ValueError if there are secrets: nobody would ask for them."""
        if secrets:
            raise ValueError("secrets has no effect without authentication; remove it, or choose another provider")
