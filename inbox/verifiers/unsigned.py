"""No authentication at all: believes every request. Only for senders that cannot do better, and only when said."""

from collections.abc import Sequence

from inbox.models import Request, Secret, Verified


class Unsigned:
    """Believes everything."""

    def verify(self, request: Request, secrets: Sequence[Secret], *, at: float) -> Verified:
        """Believe the request."""
        return Verified("unsigned")

    def verify_head(self, request: Request, secrets: Sequence[Secret], *, at: float) -> Verified | None:
        """See Verifier: nothing proves who sends."""
        return None

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
