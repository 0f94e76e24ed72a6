"""`uniqueItems` in a time that grows with the list, and not with its square, whoever chose the values.

Equal is what JSON Schema calls equal: 1 and 1.0 are, true and 1 are not, the order of members does not matter.
"""

from collections.abc import Hashable, Sequence

from inbox.core.models import Payload


def unique(items: Sequence[Payload]) -> bool:
    """Tell whether no two items are equal."""
    seen: set[Hashable] = set()
    for item in items:
        form = _form(item)
        if form in seen:
            return False
        seen.add(form)
    return True


def _form(value: Payload) -> Hashable:
    """Return what is equal for equal values only.

    Numbers become text: Python's hash of a number can be computed, so a sender could have all numbers share one; the
    hash of a text depends on a random number of the process.
    """
    if isinstance(value, str):
        return value
    if value is None or value is True or value is False:
        return (str(value),)
    if isinstance(value, float):
        return ("n", f"{int(value):x}" if value.is_integer() else value.hex())
    if isinstance(value, int):
        return ("n", f"{value:x}")
    if isinstance(value, dict):
        return ("o", frozenset((name, _form(member)) for name, member in value.items()))
    return ("a", tuple(map(_form, value)))
