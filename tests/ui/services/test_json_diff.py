"""Differences of payloads are complete, or bounded; applying them leads from one to the other."""

import copy
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from inbox.ui.services.body_preview import brief, find
from inbox.ui.services.json_diff import differences

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from([1.0, 0.5]) | st.text("a/~é", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("a/~", max_size=2), inner, max_size=3),
    max_leaves=12,
)


@given(VALUES, VALUES)
def test_changes_lead_from_one_to_the_other(before: Any, after: Any) -> None:
    """Nothing is missed, 1 and true are different, and equal payloads have none."""
    found = differences(before, after)
    result = [copy.deepcopy(before)]
    for change in sorted(found["changes"], key=lambda each: each["kind"] == "removed"):
        _apply(result, change)
    assert json.dumps(after, sort_keys=True) == json.dumps(_without_gaps(result[0]), sort_keys=True)
    assert (json.dumps(before, sort_keys=True) == json.dumps(after, sort_keys=True)) == (found["changes"] == [])


GAP = "(gone)"


def _apply(root: list[Any], change: dict[str, Any]) -> None:
    place, _, last = change["pointer"].rpartition("/")
    there, parent = find(root[0], place) if change["pointer"] else (True, root)
    assert there
    key = last.replace("~1", "/").replace("~0", "~") if change["pointer"] else "0"
    if isinstance(parent, list):
        if int(key) == len(parent):
            return parent.append(change["after"])
        parent[int(key)] = GAP if change["kind"] == "removed" else change["after"]
    elif change["kind"] == "removed":
        del parent[key]
    else:
        parent[key] = change["after"]
    return None


def _without_gaps(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_gaps(item) for item in value if item != GAP]
    return {key: _without_gaps(item) for key, item in value.items()} if isinstance(value, dict) else value


def test_many_differences_are_cut() -> None:
    """So that a page stays a page; large values, too."""
    found = differences(list(range(1000)), list(range(1, 1001)), most=10)
    assert (10, True) == (len(found["changes"]), found["more"])
    (change,) = differences({"a": "x" * 9000}, {"a": list(range(9000))})["changes"]
    assert change["before"].endswith("… (9000 characters)")
    assert (" characters of JSON)", True) == (change["after"][-20:], len(change["after"]) < 2100)


def test_nothing_is_found_where_nothing_is() -> None:
    """A pointer that leads nowhere, out of bounds, or through a value."""
    for pointer in ("/b", "/a/9", "/a/-1", "/a/x", "/a/0/c", "/a/²", "/a/99999999999999999999"):
        assert (False, None) == find({"a": [1]}, pointer)
    assert (True, 1) == find({"a": [1]}, "/a/0")
    assert brief([1]) == [1]
