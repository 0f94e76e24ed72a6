"""Lemlist: a secret in the body, and the activity's own id."""

import json

from inbox.core.models import Request
from inbox.verify.providers.base import Provider
from tests.verify.providers.checklist import AT, BodySecretChecklist

ACTIVITY = (
    b'{"_id":"act_aaXiFy3Y7BNSuYwDr","isFirst":true,"type":"emailsSent","teamId":"tea_aaqam5a3BkY8zje24",'
    b'"createdAt":"2018-08-24T14:56:39.172Z","leadEmail":"jeanne@doe.com","sequenceStep":2,"secret":"s3cr3t-of-a-hook"}'
)


class TestLemlist(BodySecretChecklist):
    """The checklist, and what is special about Lemlist."""

    provider = "lemlist"
    event_type = "linkedinReplied"

    def fixed(self) -> tuple[Provider, Request, float]:
        """Return the documented activity with the secret it is echoed with."""
        return self.make("s3cr3t-of-a-hook"), Request(body=ACTIVITY), AT

    def test_key_is_the_activity(self) -> None:
        """`_id` is the key, for ever, and `type` is the type."""
        provider, request, _ = self.fixed()
        assert self.key(provider, request) == "act_aaXiFy3Y7BNSuYwDr"
        assert provider.type_of(request, json.loads(ACTIVITY)) == "emailsSent"
        assert provider.dedupe_for == 0

    def test_enrichment_without_id_has_a_digest(self) -> None:
        """An `enrichmentDone` without `_id` is told apart by its body."""
        provider, _, _ = self.fixed()
        first, second = (
            Request(body=b'{"type":"enrichmentDone","data":[{"id":"%d"}],"secret":"s3cr3t-of-a-hook"}' % n)
            for n in (1, 2)
        )
        assert self.key(provider, first).startswith("sha256:")
        assert self.key(provider, first) != self.key(provider, second)
