"""A new file gets its name when all of it is on disk; what had the name before stays until then."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkstemp

from inbox.core.errors import InTheWay, StoreUnavailable
from inbox.store.sqlite.owner import give_to_owner

BESIDE = ("-wal", "-journal")
"""What SQLite would take for the log of whatever database lies beside it."""


def refuse_to_overwrite(path: Path, *endings: str, hint: str) -> None:
    """Raise InTheWay if there is a file at `path`, or at one of these endings of it."""
    for ending in endings:
        if (there := path.with_name(path.name + ending)).exists():
            raise InTheWay(f"{there} exists: {hint}" if not ending else f"{there} belongs to another database: {hint}")


@contextmanager
def named_when_done(target: Path, *, replace: bool) -> Iterator[Path]:
    """Yield a new file in the target's folder; it is on disk and has the target's name after the block, or is gone."""
    try:
        file, name = mkstemp(dir=target.parent, prefix=f".{target.name}-")
    except OSError as error:
        raise StoreUnavailable(f"{target.parent} cannot be written to: {error.strerror}") from error
    made = Path(name)
    try:
        give_to_owner(file, target)
        yield made
        os.fsync(file)
        _rename(made, target, replace=replace)
        _sync_folder(target.parent)
    except OSError as error:
        raise StoreUnavailable(f"{target} cannot be written: {error.strerror}") from error
    finally:
        os.close(file)
        for ending in ("", "-journal", "-wal", "-shm"):
            made.with_name(made.name + ending).unlink(missing_ok=True)


def _rename(made: Path, target: Path, *, replace: bool) -> None:
    if not replace:
        try:
            return os.link(made, target)
        except FileExistsError:
            raise InTheWay(f"{target} exists") from None
        except OSError:  # a file system without hard links
            refuse_to_overwrite(target, "", hint="choose another name")
    made.replace(target)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems cannot
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
