"""The files that the settings name → a ConfigError if two settings name the same file.

A file counts with what SQLite, locks and the wake-up pipe put beside it. Symbolic and hard links are followed.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from inbox.core.errors import ConfigError

SQLITE = ("", "-wal", "-shm", "-journal")
BESIDE = {
    "inbox.database": (*SQLITE, "-lock"),
    "inbox.queue": (*SQLITE, "-bell", ".damaged"),
    "inbox.key_file": (*SQLITE, "-lock"),
}
"""What the names of the files of a setting end in."""


def named(database: Path, inbox: object, server: object) -> dict[str, str]:
    """Return the paths that [inbox] and [server] name, by setting."""
    tables = {
        "inbox": (inbox, ("queue", "key_file", "handlers", "schemas")),
        "server": (server, ("tls_cert", "tls_key")),
    }
    found = {f"{table}.{name}": getattr(bound, name) for table, (bound, names) in tables.items() for name in names}
    return {"inbox.database": str(database), **found}


def check_places(file: str, folder: Path, paths: Mapping[str, str]) -> None:
    """Raise ConfigError if the database, the queue or the keys share a file with another setting.

    `paths` has the path of each setting, "" for none, which starts at `folder`; `file` is the name of inbox.toml.
    """
    taken: dict[object, str] = {}
    for setting, name in {**{beside: beside for beside in (file, ".env")}, **paths}.items():
        for path in _files(setting, folder / name) if name else ():
            for identity in _identities(path):
                other = taken.setdefault(identity, setting)
                if other != setting and {setting, other} & BESIDE.keys():
                    mine, its = (setting, other) if setting in BESIDE else (other, setting)
                    raise ConfigError(f"{file}: {mine}", f"{path} belongs to {its}; each needs a file of its own")


def own_files(folder: Path, paths: Mapping[str, str]) -> list[Path]:
    """Return the files that this program opens for these settings, and those beside them."""
    return [file for setting, name in paths.items() if setting in BESIDE for file in _files(setting, folder / name)]


def _files(setting: str, path: Path) -> Iterator[Path]:
    yield from (path.with_name(f"{path.name}{ending}") for ending in BESIDE.get(setting, ("",)))
    if setting == "inbox.database":
        yield from (path.with_name(f".{path.name}{ending}") for ending in ("-running", "-supervisor"))


def _identities(path: Path) -> Iterator[object]:
    """Yield what two names of one file have in common."""
    try:
        yield path.resolve()
        found = path.stat()
    except (OSError, RuntimeError, ValueError):
        return
    yield found.st_dev, found.st_ino
