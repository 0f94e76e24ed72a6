"""Handler files and installed plugin packages → a Registry of functions. The only place that imports handler code.

A module that does not import is a Failure with its traceback; the others keep working. Next:
`inbox.deliver.dispatcher`.
"""

import errno
import importlib.util
import linecache
import os
import sys
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.abc import MetaPathFinder, SourceLoader
from importlib.machinery import ModuleSpec
from importlib.metadata import entry_points
from inspect import isasyncgenfunction, isgeneratorfunction
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import structlog

from inbox.core.config import snapshot
from inbox.core.handles import Handles
from inbox.core.models import HandlerSpec
from inbox.core.tracebacks import described

log = structlog.get_logger("inbox.deliver.handler_loader")

ENTRY_POINTS = "inbox.handlers"
PACKAGE = "inbox_handlers"
"""Name in sys.modules under which the files of the handlers folder are loaded; dataclasses and pickle need one."""


@dataclass(frozen=True)
class Handler:
    """A loaded handler: what is remembered of it, and its function."""

    spec: HandlerSpec
    function: Callable[..., Any]

    def mark(self, source: str, type: str) -> Handles:
        """Return the settings that apply to an event; the first mark if none matches (an explicit replay)."""
        return next((mark for mark in self.spec.marks if mark.match(source, type)), self.spec.marks[0])


@dataclass(frozen=True)
class Registry:
    """What loaded, by handler name, and what did not: module name → traceback."""

    handlers: Mapping[str, Handler]
    failures: Mapping[str, str]

    def specs(self) -> list[HandlerSpec]:
        """Return what the store is to remember; a module that failed is a spec of its own with no marks."""
        failed = [HandlerSpec(module, module, (), failure) for module, failure in self.failures.items()]
        return [handler.spec for handler in self.handlers.values()] + failed


def load(
    folder: Path, unusable: Mapping[str, str] = MappingProxyType({}), began: Callable[[str], object] = lambda name: None
) -> Registry:
    """Import every `*.py` of the folder (not those starting with `_`) and every installed plugin.

    `unusable` names modules that are not imported, and says why: they are failures. `began` is called with the name of
    each module before its import. Whatever a module raises, also KeyboardInterrupt, is its own failure.
    """
    _package(folder)
    handlers: dict[str, Handler] = {}
    failures = {}
    for name, importer in modules(folder):
        if name in unusable:
            failures[name] = unusable[name]
        else:
            began(name)
            try:
                handlers |= _imported(name, importer, handlers)
            except BaseException as error:
                failures[name] = described(error)
        if name in failures:
            log.error("handlers.failed", module=name, error=failures[name].strip().splitlines()[-1])
    return Registry(handlers, failures)


def modules(folder: Path) -> list[tuple[str, Callable[[], ModuleType]]]:
    """Return the name of each module, and what imports it; nothing is imported."""
    return [*_files(folder), *_installed()]


def _imported(name: str, importer: Callable[[], ModuleType], taken: Container[str]) -> dict[str, Handler]:
    found = {handler.spec.name: handler for handler in _tagged(name, importer())}
    again = [handler for handler in found if handler in taken]
    if again:
        raise ImportError(f"handler names must be unique; {', '.join(again)} stands in another module already")
    return found


def _files(folder: Path) -> Iterable[tuple[str, Callable[[], ModuleType]]]:
    for path in snapshot.find(folder, ".py"):
        if not path.name.startswith("_"):
            yield os.fsencode(path.stem).decode("utf-8", "backslashreplace"), partial(_import_file, path)


def _package(folder: Path) -> None:
    """Make the folder a package, so that a handler file can say `from ._shared import something`.

    What an earlier load left behind is forgotten, or `_shared` would still be the old one, or that of another folder.
    """
    for name in [name for name in sys.modules if name.startswith(f"{PACKAGE}.")]:
        del sys.modules[name]
    importlib.invalidate_caches()
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    package = ModuleType(PACKAGE)
    package.__path__ = [str(folder)]
    sys.modules[PACKAGE] = package


def _installed() -> Iterable[tuple[str, Callable[[], ModuleType]]]:
    try:
        found = sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name)
    except Exception as error:  # a package whose description is broken, and be it one without handlers
        yield ENTRY_POINTS, partial(_raise, error)
        return
    for entry in found:
        yield entry.name, entry.load


def _raise(error: Exception) -> ModuleType:
    raise error


def _import_file(path: Path) -> ModuleType:
    name = f"{PACKAGE}.{path.stem}"
    spec = _spec(name, path)
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


class _Loader(SourceLoader):
    """Loads a module of the folder from the snapshot, if there is one; tracebacks name the file and show its lines."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get_filename(self, fullname: str) -> str:
        return str(self._path)

    def get_data(self, path: str | bytes) -> bytes:
        return snapshot.read(Path(os.fsdecode(path)))

    def path_stats(self, path: str) -> Mapping[str, Any]:
        raise OSError(errno.ENOENT, "nothing is kept of what was compiled", path)

    def get_source(self, fullname: str) -> str:
        source = super().get_source(fullname) or ""
        lines = [f"{line}\n" for line in source.splitlines()]
        linecache.cache[str(self._path)] = (len(source), None, lines, str(self._path))
        return source

    def exec_module(self, module: ModuleType) -> None:
        with suppress(ImportError):  # not UTF-8; running it says so
            self.get_source(module.__name__)
        super().exec_module(module)


class _Finder(MetaPathFinder):
    """Finds what a handler file imports from its own folder; extension modules are left to Python."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if not name.startswith(f"{PACKAGE}.") or not path:
            return None
        base = Path(next(iter(path))) / name.rpartition(".")[2]
        if snapshot.is_file(base / "__init__.py"):
            return _spec(name, base / "__init__.py", [str(base)])
        if snapshot.is_file(base.with_name(f"{base.name}.py")):
            return _spec(name, base.with_name(f"{base.name}.py"))
        if not snapshot.is_folder(base):
            return None
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [str(base)]
        return spec


_FINDER = _Finder()


def _spec(name: str, path: Path, inside: list[str] | None = None) -> ModuleSpec:
    spec = importlib.util.spec_from_file_location(name, path, loader=_Loader(path), submodule_search_locations=inside)
    assert spec is not None
    return spec


def _tagged(name: str, module: ModuleType) -> Iterable[Handler]:
    """Yield the tagged functions of a module or its submodules, not what it imported, in the order of names.

    Raises ImportError or TypeError for what could never run, or never be matched with an event.
    """
    if not isinstance(module, ModuleType):
        raise ImportError(f"the entry point {name} names {module!r}; it must name a module")
    seen: set[int] = set()
    for attribute, value in sorted(vars(module).items()):
        marks = getattr(value, "__inbox_handles__", None)
        if not marks or not callable(value) or not _is_own(value, module) or id(value) in seen:
            continue
        seen.add(id(value))
        if not isinstance(marks, tuple) or not all(type(mark) is Handles for mark in marks):
            raise TypeError(f"{name}.{attribute} has marks that @handles did not make")
        if isgeneratorfunction(value) or isasyncgenfunction(value):
            raise TypeError(f"{name}.{attribute} has a `yield`: called as a handler, not a line of it would run")
        yield Handler(HandlerSpec(f"{name}.{attribute}", name, marks), value)


def _is_own(value: object, module: ModuleType) -> bool:
    home = getattr(value, "__module__", None) or ""
    return home == module.__name__ or home.startswith(f"{module.__name__}.")
