"""States and changes from readings: two bad ones start, three good ones end, nothing flutters."""

import pytest

from inbox.operate.alarms.hysteresis import Reading, step
from inbox.store.protocols_alarms import Watched


def told(readings: str, known: tuple[Watched, ...] = ()) -> str:
    """Return what happens at each reading: b bad, g good, - neither → S start, E end, . nothing."""
    said = []
    for at, reading in enumerate(readings):
        bad = {"b": True, "g": False, "-": None}[reading]
        found = step(known, [Reading("disk", "", bad, "text")], float(at))
        known = found.states
        said.append({"start": "S", "end": "E"}[found.changes[0].what] if found.changes else ".")
    return "".join(said)


@pytest.mark.parametrize(
    ("readings", "changes"),
    [
        ("ggg", "..."),
        ("b", "."),
        ("bb", ".S"),
        ("bbbbb", ".S..."),
        ("bgbgbg", "......"),
        ("b-b-b", "....."),  # not in a row
        ("bbg", ".S."),
        ("bbggg", ".S..E"),
        ("bbgbgg-ggbggg", ".S..........E"),
        ("bb-----ggg", ".S.......E"),
        ("bbgggbb", ".S..E.S"),
    ],
)
def test_start_and_end_are_told_once(readings: str, changes: str) -> None:
    """Between a start and its end nothing is told, however the readings go."""
    assert changes == told(readings)


def test_restart_neither_repeats_nor_forgets() -> None:
    """The state is a value: what was on stays on, and its streak goes on."""
    on = Watched("disk", "", True, 5.0, 0, "text")
    assert "..." == told("bbb", (on,))
    assert ".E" == told("gg", (Watched("disk", "", True, 5.0, 1, "text"),))
    assert "S" == told("b", (Watched("disk", "", False, 5.0, 1, "text"),))


def test_since_is_when_it_turned() -> None:
    """Not when it was last looked at."""
    first = step((), [Reading("disk", "", True, "a")], 10.0).states
    second = step(first, [Reading("disk", "", True, "b")], 70.0).states
    third = step(second, [Reading("disk", "", True, "c")], 130.0).states
    assert [(False, 10.0, "a"), (True, 70.0, "b"), (True, 70.0, "c")] == [
        (state.on, state.since, state.text) for states in (first, second, third) for state in states
    ]


def test_alarm_of_what_is_gone_ends() -> None:
    """A source that was removed from the configuration leaves no alarm behind; one that was off goes quietly."""
    known = (Watched("silence", "old", True, 1.0, 0, ""), Watched("refusals", "old", False, 1.0, 0, ""))
    found = step(known, [], 9.0)
    assert ((), known, ["end"]) == (found.states, found.gone, [change.what for change in found.changes])
