"""`@handles`: every argument is checked where it enters, and says what is allowed."""

from datetime import timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any

import pytest

from inbox import handles
from inbox.core.handles import LIMITS, Handles


def marked(*arguments: Any, **settings: Any) -> tuple[Handles, ...]:
    """Return the marks of a function with this decorator."""

    @handles(*arguments, **settings)
    def function(event: Any) -> None: ...

    found: tuple[Handles, ...] = function.__inbox_handles__  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize("sources", [["a", "b"], ("a", "b"), {"b", "a"}, frozenset("ab")])
def test_list_of_sources_is_a_mark_for_each(sources: Any) -> None:
    """With the same settings; an order that a set does not have is that of the names."""
    assert (Handles("a", "x", attempts=3), Handles("b", "x", attempts=3)) == marked(sources, "x", attempts=3)


def test_list_of_types_is_a_mark_for_each() -> None:
    """Of every source."""
    expected = (Handles("a", "x"), Handles("a", "y"), Handles("b", "x"), Handles("b", "y"))
    assert expected == marked(["a", "b"], ["x", "y"])


def test_marks_of_several_decorators_stand_in_their_order() -> None:
    """The topmost first, also when it has a list."""

    @handles(["a", "b"])
    @handles("c")
    def function(event: Any) -> None: ...

    assert ["a", "b", "c"] == [mark.source for mark in function.__inbox_handles__]  # type: ignore[attr-defined]


def test_values_are_kept_as_plain_ones() -> None:
    """What else a subclass of text or number can do does not matter to the store, and to what compares marks."""

    class Source(str, Enum):  # noqa: UP042 – the older kind, whose `str` is not its value
        ACME = "acme"

    class Often(IntEnum):
        TWICE = 2

    (mark,) = marked(Source.ACME, attempts=Often.TWICE, timeout=Often.TWICE)
    assert (str, int, float) == (type(mark.source), type(mark.attempts), type(mark.timeout))
    assert Handles("acme", attempts=2, timeout=2.0) == mark


@pytest.mark.parametrize("value", [None, 1, b"a", 1.5, ["a", None], [["a"]], {"a": 1}, [1], object()])
@pytest.mark.parametrize("place", ["source", "type"])
def test_pattern_must_be_text(place: str, value: Any) -> None:
    """Or a list of texts; the error names the argument."""
    arguments = {"source": "a", "type": "x"} | {place: value}
    with pytest.raises(TypeError, match=f"^@handles: {place} must be text, or a list of texts; this is "):
        marked(arguments["source"], arguments["type"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(([],), "source is an empty"), (("a", ()), "type is an empty"), (("",), "source must not be")],
)
def test_pattern_that_nothing_can_match_is_an_error(arguments: tuple[Any, ...], said: str) -> None:
    """An event can have no type, but it always has a source."""
    with pytest.raises(ValueError, match=f"^@handles: {said}"):
        marked(*arguments)
    assert marked("a", "")[0].match("a", "")


def test_decorator_without_its_parentheses_says_so() -> None:
    """Before, the function stayed as it was, and never ran."""
    with pytest.raises(TypeError, match=r"^@handles stands without its parentheses"):

        @handles  # type: ignore[arg-type]
        def function(event: Any) -> None: ...


@pytest.mark.parametrize("value", [True, False, "3", None, Decimal(3), timedelta(3), [3], 1j])
@pytest.mark.parametrize("name", LIMITS)
def test_number_must_be_a_number(name: str, value: Any) -> None:
    """True is no number of seconds."""
    kind = "a whole number" if name == "attempts" else "a number"
    with pytest.raises(TypeError, match=f"^@handles: {name} must be {kind}; this is "):
        marked("a", **{name: value})


def test_attempts_are_whole() -> None:
    """Half a run is none."""
    with pytest.raises(TypeError, match="attempts must be a whole number"):
        marked("a", attempts=1.5)


@pytest.mark.parametrize("name", LIMITS)
def test_number_lies_in_its_range(name: str) -> None:
    """Both ends are allowed; what is beyond them, infinite or no number at all is not."""
    low, high = LIMITS[name]
    for value in (low, high):
        assert value == getattr(marked("a", **{name: value})[0], name)
    beyond = (0, -1, 10**400, high + 1) if name == "attempts" else (-1e-9, -1, 10**400, high * 1.001, *ODD)
    for value in beyond:
        with pytest.raises(ValueError, match=f"^@handles: {name} is out of range; allowed: "):
            marked("a", **{name: value})


ODD = (float("inf"), float("-inf"), float("nan"), 1e308)


def test_timeout_of_no_time_is_an_error() -> None:
    """0 would switch the alarm off."""
    with pytest.raises(ValueError, match=r"timeout is out of range; allowed: 0\.001 to 2,592,000$"):
        marked("a", timeout=0)
