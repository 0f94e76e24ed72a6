"""Payloads as nested lists: what nobody could see, or a page could not have, is written as JSON writes it."""

from inbox.testing import Inbox
from inbox.ui.pages.json_tree import tree
from tests.ui.conftest import Reader


def test_unseen_characters_are_written_out() -> None:
    """In names and in values: control characters, marks of direction, spaces without width."""
    shown = tree({"a\x1b\u202eb": "\u2066\u200b\x7f", "plain ä 漢": "é 👨‍👩‍👧"}, [])
    assert shown is not None
    assert [] == [
        words for words in (r"a\u001b\u202eb", r"\u2066\u200b\u007f", "plain ä 漢", "é 👨‍👩‍👧") if words not in shown
    ]
    assert not set("\x1b\u202e\u2066\u200b\x7f") & set(shown)


def test_half_a_character_does_not_keep_a_page_from_being_shown(owned: Inbox, reader: Reader) -> None:
    """JSON can have half of a surrogate pair, UTF-8 cannot: in a name, value, type, key, error or difference."""
    bodies = (
        rb'{"id": "1", "type": "x", "\udc00": "\ud800"}',
        rb'{"id": "2\ud800", "type": "fail\ud800", "why": "\ud800"}',
        rb'{"id": "1", "type": "x", "\udc00": "\ud801"}',
    )
    numbers = [owned.receive("open", body).id for body in bodies]
    owned.run()
    for path in ("/inbox/", "/inbox/events", "/inbox/handlers", *(f"/inbox/events/{number}" for number in numbers)):
        assert 200 == reader.get(path).status_code, path
    assert r"&#34;\ud800&#34;" in reader.get(f"/inbox/events/{numbers[0]}").text
    assert r"ValueError: \ud800" in reader.get(f"/inbox/events/{numbers[1]}").text
