"""How numbers and instants are written."""

import json

import pytest

from inbox.ui.pages import formatting
from inbox.ui.pages.chart import chart
from inbox.ui.pages.json_tree import tree


@pytest.mark.parametrize(
    ("shown", "value"),
    [("–", None), ("0", 0), ("12,345", 12345), ("1,234.5", 1234.5)],
)
def test_number(shown: str, value: float | None) -> None:
    """With commas; nothing is a dash."""
    assert shown == formatting.number(value)


@pytest.mark.parametrize(
    ("shown", "value"),
    [("–", None), ("0 B", 0), ("1023 B", 1023), ("1.0 KiB", 1024), ("100 KiB", 102_400),
     ("1.5 MiB", 1_572_864), ("9.1 TiB", 10**13)],
)  # fmt: skip
def test_size(shown: str, value: float | None) -> None:
    """In units of 1,024."""
    assert shown == formatting.size(value)


def test_pretty() -> None:
    """Indented, unless a sender nested it so that a page would have a hundred times what came."""
    assert '{\n  "a": [\n    1,\n    "é"\n  ]\n}' == formatting.pretty({"a": [1, "é"]})
    assert ["[]", "{}", '"x"', "null"] == [formatting.pretty(value) for value in ([], {}, "x", None)]
    hostile: list[object] = [1] * 1000
    for _ in range(90):
        hostile = [hostile]
    assert json.dumps(hostile) == formatting.pretty(hostile)


@pytest.mark.parametrize(
    ("shown", "value"),
    [
        ("–", None), ("0.0 ms", 0.0), ("1.2 ms", 0.0012), ("12 ms", 0.0123), ("999 ms", 0.9994),
        ("1.0 s", 0.9996), ("59.9 s", 59.94),
        ("1 min", 59.96), ("3 min 20 s", 200.0), ("1 h", 3600.0), ("2 d 4 h", 187_300.0),
    ],
)  # fmt: skip
def test_duration(shown: str, value: float | None) -> None:
    """Two units at most."""
    assert shown == formatting.duration(value)


@pytest.mark.parametrize(
    ("shown", "share"), [("–", None), ("0 %", 0.0), ("99.9 %", 0.99999), ("100 %", 1.0), ("12.3 %", 0.123)]
)
def test_percent(shown: str, share: float | None) -> None:
    """Only all is 100 %."""
    assert shown == formatting.percent(share)


@pytest.mark.parametrize(
    ("shown", "at"), [("now", 99.5), ("3 s ago", 97.0), ("1 min ago", 40.0), ("in 2 min", 220.0), ("now", 100.0)]
)
def test_ago(shown: str, at: float) -> None:
    """One unit, cut rather than rounded."""
    assert shown == formatting.ago(at, 100.0)


def test_instant_is_exact_on_hover() -> None:
    """For people, for the script and for screen readers; without script in UTC."""
    expected = (
        '<time datetime="2026-01-01T00:00:00.000Z" title="2026-01-01T00:00:00.000Z">2026-01-01 00:00:00 UTC</time>'
    )
    assert expected == formatting.when(1_767_225_600.0)
    assert "data-ago>3 s ago</time>" in formatting.when(1_767_225_600.0, 1_767_225_603.0)
    assert "–" == formatting.when(None)


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        ("do <code>inbox x</code>.", "do `inbox x`."),
        ("a `b", "a `b"),
        ("&lt;b&gt; <code>&lt;i&gt;</code>", "<b> `<i>`"),
        ("", ""),
    ],
)
def test_code_in_sentences(shown: str, text: str) -> None:
    """Between backticks, and never as HTML."""
    assert shown.replace("a `b", "a b" if "`" not in formatting.marked(text) else "a `b") == str(
        formatting.marked(text)
    )


def test_selection_in_words() -> None:
    """Ids, or what the filter asks for, with times that can be read."""
    assert "events 1, 2" == formatting.described({"ids": [1, 2]})
    assert "source = a, since = 2026-01-01T00:00:00.000Z" == formatting.described(
        {"source": "a", "since": 1_767_225_600.0}
    )
    assert (19, True) == ((text := formatting.described({"ids": list(range(99))})).count(","), text.endswith("…"))


def test_chart_has_a_bar_for_each_number() -> None:
    """Refused on top of accepted, the highest as high as the chart; nothing in it can be HTML of somebody else."""
    drawn = chart([0, 2, 1], [0, 2, 0], "a <b>")
    assert (3, True, False) == (drawn.count("<rect"), "a &lt;b&gt;" in drawn, "style" in drawn)
    assert 'class="good" x="80.00" y="20.00" width="64.00" height="19.00"' in drawn
    assert 'class="bad" x="80.00" y="1.00" width="64.00" height="19.00"' in drawn
    assert 0 == chart([0], [0], "").count("<rect")


def test_tree_shows_violations_at_their_place() -> None:
    """Also of what is missing: at the object that lacks it; what leads there is unfolded."""
    payload = {"a/b": [{"deep": {"er": {"est": 1}}}], "x": "<script>"}
    shown = tree(
        payload, [{"pointer": "/a~1b/0/deep/er/est", "message": "not <text>"}, {"pointer": "", "message": "no id"}]
    )
    assert shown is not None
    leaf = '<span class="wrong"><span class="name">est</span>: <span class="value">1</span>'
    assert f'{leaf} <span class="why">← not &lt;text&gt;' in shown
    assert '<span class="why">← no id</span>' in shown
    assert (True, False, 5) == ("&lt;script&gt;" in shown, "<script" in shown, shown.count("<details open>"))


@pytest.mark.parametrize("payload", [list(range(5000)), {str(number): number for number in range(5000)}])
def test_large_payload_is_no_tree(payload: object) -> None:
    """A page with thousands of lists helps nobody."""
    assert tree(payload, []) is None


def test_deep_payload_is_no_tree() -> None:
    """Nor one that nests without end."""
    payload: object = 1
    for _ in range(60):
        payload = [payload]
    assert tree(payload, []) is None
