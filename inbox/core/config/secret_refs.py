"""Secrets by reference: `env:NAME` and `file:PATH` in inbox.toml → Secret; the value itself is never written there."""

from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from dotenv import dotenv_values

from inbox.core.config import snapshot
from inbox.core.errors import ConfigError
from inbox.core.models import Secret


def dotenv(folder: Path) -> dict[str, str]:
    """Return what the folder's `.env` sets, letter by letter: a `${` in a secret is part of it. Raises ConfigError."""
    path = folder / ".env"
    try:
        values = dotenv_values(stream=StringIO(snapshot.read(path).decode("utf-8")), interpolate=False)
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError:
        raise ConfigError(path.name, "not UTF-8") from None
    except OSError as error:
        raise ConfigError(path.name, f"cannot be read: {error.strerror}") from None
    return {name: value for name, value in values.items() if value is not None}


def resolve_table(table: Mapping[str, Any], where: str, folder: Path, environ: Mapping[str, str]) -> dict[str, Any]:
    """Return a table with the secrets that it names in their places."""

    def found(key: str, value: Any) -> Any:
        if key == "seal_key" and isinstance(value, list):  # another list is a provider's own affair
            return [resolve(item, f"{where}.{key}", folder, environ) for item in value]
        return resolve(value, f"{where}.{key}", folder, environ) if _refers(value) else value

    return {key: found(key, value) for key, value in table.items()}


def _refers(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(("env:", "file:"))


def resolve(reference: Any, where: str, folder: Path, environ: Mapping[str, str]) -> Secret:
    """Return the secret that `env:NAME` or `file:PATH` names; the reference never is the secret itself.

    A file's final line break does not belong to the secret. Raises ConfigError, which never shows a value.
    """
    if not _refers(reference):
        raise ConfigError(where, "a secret is named, never written here; allowed: env:NAME, file:PATH")
    kind, _, name = reference.partition(":")
    if kind == "env":
        value = environ.get(name, "").encode("utf-8", "surrogateescape")
    else:
        try:
            value = snapshot.read(folder / name).rstrip(b"\r\n")
        except OSError as error:
            raise ConfigError(where, f"file:{name} cannot be read: {error.strerror}") from None
        except ValueError:
            raise ConfigError(where, "file:PATH names no file: the path has a null character") from None
    if not value.strip():
        raise ConfigError(where, f"{reference} is missing or empty; set it in the environment, in .env or in the file")
    return Secret(value)
