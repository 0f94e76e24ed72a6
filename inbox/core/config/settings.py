"""`inbox.toml` and the environment → Settings; every problem is a ConfigError that names file, key and what is allowed.

Reads files, never writes them, and knows nothing of providers: a source's own settings stay a table here and are
bound by `inbox.verify.providers.build`.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from ipaddress import ip_address
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

from inbox.core.config import snapshot
from inbox.core.config.alarm_settings import AlarmSettings
from inbox.core.config.named_files import check_places, named
from inbox.core.config.retention_settings import REFUSAL_LIMITS, RetentionSettings
from inbox.core.config.secret_refs import dotenv, resolve, resolve_table
from inbox.core.errors import ConfigError
from inbox.core.models import Secret

FILE = "inbox.toml"
_NAME = re.compile(r"[A-Za-z0-9_-]+")
Bound = TypeVar("Bound")


@dataclass(frozen=True, kw_only=True)
class InboxSettings:
    """[inbox]: where things are, and how much room they may take. Relative paths start at the folder of inbox.toml."""

    database: str = "sqlite:///inbox.db"
    queue: str = "queue.db"
    key_file: str = "keys.db"
    seal_key: tuple[Secret, ...] = ()
    handlers: str = "handlers"
    schemas: str = "schemas"
    min_free_bytes: int = 67_108_864
    max_store_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """[server]: the receiver. A request waits for its turn, and for the store, for `store_timeout`; then 503."""

    host: str = "127.0.0.1"
    port: int = 8000
    threads: int = 8
    max_connections: int = 1024
    body_timeout: float = 30.0
    tls_cert: str = ""
    tls_key: str = ""
    trusted_proxies: int = 0
    store_timeout: float = 5.0
    max_in_flight: int = 512
    max_in_flight_bytes: int = 67_108_864
    metrics: Literal["off", "loopback", "everyone"] = "off"
    unresponsive_after: float = 10.0


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """[worker]: lease, grace and shutdown_timeout are in seconds, max_memory in bytes; 0 runs or bytes is no limit."""

    processes: int = 2
    lease: float = 30.0
    kill_after: float = 5.0
    max_crashes: int = 3
    max_runs: int = 0
    max_memory: int = 0
    shutdown_timeout: float = 30.0


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """[search]: whether a worker indexes the text of payloads, so that events can be found by a word in them."""

    enabled: bool = True


@dataclass(frozen=True, kw_only=True)
class AdminSettings:
    """[admin]: the pages. `bind` is HOST:PORT of an address of their own; "" is `/inbox/` of the receiver's."""

    bind: str = ""
    session_lifetime: float = 43_200.0

    @property
    def address(self) -> tuple[str, int]:
        """Return the IP address and the port of `bind`. Raises ValueError if it has not both."""
        parts = urlsplit(f"//{self.bind}")
        if parts.hostname is None or not parts.port or parts.netloc != self.bind or parts.username is not None:
            raise ValueError(self.bind)
        return str(ip_address(parts.hostname)), parts.port


@dataclass(frozen=True)
class SourceSettings:
    """[sources.NAME]: the provider's name, its live secrets, and the provider's own settings, not yet bound."""

    name: str
    provider: str
    secrets: tuple[Secret, ...]
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Settings:
    """The whole configuration; `folder` is where inbox.toml lies."""

    folder: Path
    inbox: InboxSettings = InboxSettings()
    server: ServerSettings = ServerSettings()
    worker: WorkerSettings = WorkerSettings()
    retention: RetentionSettings = RetentionSettings()  # noqa: RUF009 (frozen)
    alarms: AlarmSettings = AlarmSettings()  # noqa: RUF009 (frozen)
    search: SearchSettings = SearchSettings()
    admin: AdminSettings = AdminSettings()
    sources: Mapping[str, SourceSettings] = field(default_factory=dict)

    def path(self, setting: str) -> Path:
        """Return a configured path, taken from the folder of inbox.toml."""
        return self.folder / setting

    @property
    def database(self) -> Path:
        """Return the file of the SQLite database."""
        return self.path(self.inbox.database.removeprefix("sqlite:///"))


def locate(environ: Mapping[str, str]) -> Path:
    """Return the path of inbox.toml: INBOX_CONFIG, else the working directory."""
    return Path(environ.get("INBOX_CONFIG") or FILE).absolute()


def load(path: Path, environ: Mapping[str, str] | None = None) -> Settings:
    """Read inbox.toml and the `.env` beside it (the environment wins).

    Raises ConfigError.
    """
    try:
        document = tomllib.loads(snapshot.read(path).decode("utf-8"))
    except FileNotFoundError:
        raise ConfigError(str(path), "not found; `inbox init` writes one, INBOX_CONFIG names another") from None
    except (ValueError, RecursionError) as error:  # also a number with too many digits, and lists too deep in lists
        raise ConfigError(path.name, f"not valid TOML: {error}") from None
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror}") from None
    values = {**dotenv(path.parent), **(os.environ if environ is None else environ)}
    return _settings(path, document, values)


def _settings(path: Path, document: Mapping[str, Any], environ: Mapping[str, str]) -> Settings:
    tables = {
        "inbox": InboxSettings,
        "server": ServerSettings,
        "worker": WorkerSettings,
        "retention": RetentionSettings,
        "alarms": AlarmSettings,
        "search": SearchSettings,
        "admin": AdminSettings,
    }
    for key in document:
        if key not in {*tables, "sources"}:
            raise ConfigError(f"{path.name}: {key}", f"unknown table; allowed: {', '.join([*tables, 'sources'])}")
    bound: dict[str, Any] = {}
    for name, cls in tables.items():
        table = _table(document.get(name, {}), f"{path.name}: {name}")
        if name in ("alarms", "inbox"):
            table = resolve_table(table, f"{path.name}: {name}", path.parent, environ)
        bound[name] = bind(cls, table, f"{path.name}: {name}")
    sources = _table(document.get("sources", {}), f"{path.name}: sources")
    settings = Settings(
        folder=path.parent,
        sources={name: _source(name, table, path, environ) for name, table in sources.items()},
        **bound,
    )
    _check(settings, path.name)
    check_places(path.name, settings.folder, named(settings.database, settings.inbox, settings.server))
    return settings


def _check(settings: Settings, file: str) -> None:
    server, worker = settings.server, settings.worker
    if not settings.inbox.database.removeprefix("sqlite:///") or not settings.inbox.database.startswith("sqlite:///"):
        raise ConfigError(f"{file}: inbox.database", "allowed: sqlite:///PATH")
    if problem := settings.alarms.problem():
        raise ConfigError(f"{file}: alarms.{problem[0]}", problem[1])
    _check_bind(settings, file)
    if bool(server.tls_cert) != bool(server.tls_key):
        raise ConfigError(f"{file}: server.tls_cert, server.tls_key", "both or neither")
    _check_kept(settings, file)
    for key, value, low, high in (
        ("server.port", server.port, 1, 65535),
        ("server.threads", server.threads, 1, 256),
        ("server.max_connections", server.max_connections, 1, 65536),
        ("server.body_timeout", server.body_timeout, 0.1, 3600),
        ("server.trusted_proxies", server.trusted_proxies, 0, 10),
        ("server.store_timeout", server.store_timeout, 0.1, 60),
        ("server.unresponsive_after", server.unresponsive_after, 0, 3600),
        ("server.max_in_flight", server.max_in_flight, 1, 100_000),
        ("server.max_in_flight_bytes", server.max_in_flight_bytes, 1_048_576, 2**34),
        ("inbox.min_free_bytes", settings.inbox.min_free_bytes, 0, 2**50),
        ("inbox.max_store_bytes", settings.inbox.max_store_bytes, 0, 2**50),
        ("worker.processes", worker.processes, 1, 64),
        ("worker.lease", worker.lease, 0.5, 3600),
        ("worker.kill_after", worker.kill_after, 0.1, 600),
        ("worker.max_crashes", worker.max_crashes, 1, 100),
        ("worker.max_runs", worker.max_runs, 0, 2**31),
        ("worker.max_memory", worker.max_memory, 0, 2**50),
        ("worker.shutdown_timeout", worker.shutdown_timeout, 0, 3600),
        ("admin.session_lifetime", settings.admin.session_lifetime, 60, 31_536_000),
        *(
            (f"retention.{name}", value, *REFUSAL_LIMITS.get(name, (0, 2**50)))
            for name, value in vars(settings.retention).items()
            if name != "keep_statuses"
        ),
    ):
        if not low <= value <= high:
            raise ConfigError(f"{file}: {key}", f"{value} is out of range; allowed: {low} to {high}")


def _check_kept(settings: Settings, file: str) -> None:
    prunable = {"unhandled", "succeeded", "quarantined", "conflict", "dead", "ignored"}
    for name in sorted(set(settings.retention.keep_statuses) - prunable):
        raise ConfigError(f"{file}: retention.keep_statuses", f"{name!r}; allowed: {', '.join(sorted(prunable))}")


def _check_bind(settings: Settings, file: str) -> None:
    server, admin = settings.server, settings.admin
    if not admin.bind:
        return
    try:
        host, port = admin.address
    except ValueError:
        raise ConfigError(f"{file}: admin.bind", f"{admin.bind!r} is not IP:PORT, as in 127.0.0.1:8001") from None
    if port == server.port and (host == server.host or {host, server.host} & {"0.0.0.0", "::"}):  # noqa: S104
        problem = "that is the receiver's own address; leave it out to have the pages there"
        raise ConfigError(f"{file}: admin.bind", problem)


def _source(name: str, table: Any, path: Path, environ: Mapping[str, str]) -> SourceSettings:
    where = f"{path.name}: sources.{name}"
    if not _NAME.fullmatch(name):
        raise ConfigError(where, "a source's name is part of its address; allowed: letters, digits, - and _")
    options = dict(_table(table, where))
    provider = options.pop("provider", None)
    if not isinstance(provider, str) or not provider:
        raise ConfigError(f"{where}.provider", "missing; `inbox sources --providers` lists what is allowed")
    secrets = options.pop("secrets", [])
    if not isinstance(secrets, list):
        raise ConfigError(f"{where}.secrets", 'must be a list such as ["env:NAME"]')
    resolved = tuple(resolve(item, f"{where}.secrets", path.parent, environ) for item in secrets)
    return SourceSettings(name, provider, resolved, resolve_table(options, where, path.parent, environ))


def bind(cls: type[Bound], table: Mapping[str, Any], where: str) -> Bound:
    """Return the dataclass `cls` filled from a TOML table: unknown keys, wrong types and gaps are ConfigErrors."""
    hints = get_type_hints(cls)
    known = {item.name: item for item in fields(cls) if item.init}  # type: ignore[arg-type]
    for key in table:
        if key not in known:
            raise ConfigError(f"{where}.{key}", f"unknown setting; allowed: {', '.join(sorted(known))}")
    for name, item in known.items():
        if name not in table and item.default is MISSING and item.default_factory is MISSING:
            raise ConfigError(f"{where}.{name}", "missing")
    return cls(**{key: _convert(value, hints[key], f"{where}.{key}") for key, value in table.items()})


def _table(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(where, f"must be a table, as in [{where.partition(': ')[2]}]")
    return value


LARGEST = 2**53
"""The largest number that any setting has: what SQLite, floats and ints can all hold exactly."""

_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def _convert(value: Any, hint: Any, where: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        if value not in arguments:
            raise ConfigError(where, f"{value!r} is not known; allowed: {', '.join(map(repr, arguments))}")
        return value
    if origin in (Union, UnionType):
        kinds = [kind for kind in arguments if kind is not type(None)]
        return _convert(value, kinds[0], where)
    if origin is tuple:
        items = [value] if isinstance(value, str | Secret) else value
        if not isinstance(items, list):
            raise ConfigError(where, "must be a list")
        return tuple(_convert(item, arguments[0], where) for item in items)
    if hint is Secret:
        if not isinstance(value, Secret):
            raise ConfigError(where, "a secret is named, never written here; allowed: env:NAME, file:PATH")
        return value
    if type(value) is not hint and not (hint is float and type(value) is int):
        raise ConfigError(where, f"must be {_NAMES[hint]}")
    if hint in (int, float):
        if not -LARGEST <= value <= LARGEST:  # also "nan", which is neither larger nor smaller than anything
            raise ConfigError(where, f"is out of range; allowed: {-LARGEST} to {LARGEST}")
        return hint(value)
    return value
