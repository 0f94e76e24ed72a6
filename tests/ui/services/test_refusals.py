"""Each refusal says what was wrong and what to change, where; a page leads to the next."""

from inbox.core import errors
from inbox.core.errors import Refused
from inbox.operate.metrics import REASONS
from inbox.testing import Inbox
from inbox.ui.services.refusal_advice import advice
from inbox.ui.services.refusals import refusals
from tests.ui.services.conftest import refuse


def test_every_refusal_has_a_next_step() -> None:
    """A sentence per code, and per reason of what was not authentic, that names what to change."""
    codes = {kind.code for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Refused)}
    kinds = [(code, code) for code in codes - {"refused", "not_authentic"}]
    kinds += [("not_authentic", reason) for reason in REASONS]
    for code, reason in kinds:
        text = advice(code, reason, "acme")
        assert (".", True) == (text[-1:], len(text) > 60), (code, reason)
        assert "{" not in text
    assert 12 == len(kinds)
    assert ("", "[sources.NAME]") == (advice("new_code", "", ""), advice("body_too_large", "", "")[20:34])


def test_refusals_are_paged(desk: Inbox) -> None:
    """Newest first, of all or of one source, by id; with headers, diagnosis and advice."""
    for number in range(5):
        refuse(desk, "roomz" if number % 2 else "nobody", headers=(("x-n", str(number)), ("token", "s")))
        desk.advance(1)
    first = refusals(desk.runtime, limit=2)
    second = refusals(desk.runtime, limit=2, before=first["next"])
    last = refusals(desk.runtime, limit=2, before=second["next"])
    assert ([2, 2, 1], None) == ([len(page["rows"]) for page in (first, second, last)], last["next"])
    rows = [row for page in (first, second, last) for row in page["rows"]]
    assert [4, 3, 2, 1, 0] == [int(row["headers"][0][1]) for row in rows]
    assert ["token", "[redacted]"] == rows[0]["headers"][1]
    assert ["", "roomz"] == [row["source"] for row in rows[:2]]
    assert rows[1]["advice"].startswith("Set the secret or the signature at the sender")
    assert ["1", "3"] == sorted(row["headers"][0][1] for row in refusals(desk.runtime, source="roomz")["rows"])
    assert {"rows": [], "next": None} == refusals(desk.runtime, source="roomz", before=1)


def test_sealed_refusals_open_with_the_key(sealed: Inbox) -> None:
    """Headers and address as they came."""
    refuse(sealed, headers=(("x-n", "1"),), remote="192.0.2.1")
    (row,) = refusals(sealed.runtime)["rows"]
    assert ([["x-n", "1"]], "192.0.2.1") == (row["headers"], row["remote"])
