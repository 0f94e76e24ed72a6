"""The query of an address → which events are meant; what makes no sense is refused with what is allowed."""

import pytest
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import BadRequest

from inbox.store.filters import Filter
from inbox.ui.pages.query_params import asked, wanted

NOW = 1_767_225_600.0


def test_every_field() -> None:
    """Times as people write them, without a zone in UTC; what is empty is not asked for."""
    query = MultiDict(
        {
            "text": " anna ", "source": "shop", "type": "order.*", "status": "dead", "handler": "a.b", "since": "2h",
            "until": "2026-01-01T00:00", "before": "9", "after": "3",
        }
    )  # fmt: skip
    assert Filter("shop", "order.*", "dead", NOW - 7200, NOW, 9, 3, "a.b", "anna") == wanted(query, NOW)
    assert Filter() == wanted(MultiDict({"text": "", "source": " ", "other": "x"}), NOW)
    assert {"text": " anna ", "source": "shop"} == asked(
        {"text": " anna ", "source": "shop", "before": "9", "until": ""}
    )


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("status", "done", "There is no status 'done'; allowed: received, quarantined"),
        ("since", "yesterday", "since: 'yesterday' is no time; allowed: 2026-01-31"),
        ("before", "x", "before is a whole number, not 'x'."),
        ("before", "9" * 30, "before is a whole number"),
        ("before", "0" * 25 + "9" * 30, "before is a whole number"),
        ("after", "0" * 6000 + "1", "after is a whole number"),
        ("before", "-1", "before is a whole number"),
        ("after", "²", "after is a whole number"),
    ],
)
def test_what_makes_no_sense(name: str, value: str, said: str) -> None:
    """400 with what is allowed."""
    with pytest.raises(BadRequest) as error:
        wanted(MultiDict({name: value}), NOW)
    assert said in str(error.value.description)
