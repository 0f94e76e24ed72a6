"""Parts of something that are made when they are first asked for, by one thread only."""

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

Part = TypeVar("Part")


class Once(Generic[Part]):
    """A property that is made when it is first asked for, and once, however many threads ask at the same time.

    `functools.cached_property` does not see to that: https://docs.python.org/3/library/functools.html. The part is
    kept in the instance's `__dict__`, where Python finds it before it asks here again.
    """

    def __init__(self, make: Callable[[Any], Part]) -> None:
        self._make = make
        self._name = make.__name__
        self.__doc__ = make.__doc__

    def __get__(self, whole: "Parts", owner: type) -> Part:
        with whole.making:
            if self._name not in whole.__dict__:
                whole.__dict__[self._name] = self._make(whole)
            part: Part = whole.__dict__[self._name]
            return part


class Parts:
    """What has such parts."""

    def __init__(self) -> None:
        self.making = threading.RLock()  # one for all parts: making one asks for others

    def close_parts(self, *names: str) -> None:
        """Close those of the parts that were made."""
        for name in names:
            if name in self.__dict__:
                self.__dict__[name].close()
