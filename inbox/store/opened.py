"""Settings → the sides of the store, each opened when it is first asked for."""

from typing import TYPE_CHECKING

from inbox.core.config.settings import Settings
from inbox.core.lazy import Once, Parts
from inbox.store import sqlite
from inbox.store.protocols import Archive
from inbox.store.protocols_accounts import Access
from inbox.store.protocols_actions import Acting
from inbox.store.protocols_retention import Keeping
from inbox.store.protocols_search import EventSearch

if TYPE_CHECKING:
    from inbox.store.sql.erasure import SqliteErasing
    from inbox.store.sqlite.connection import Connection


class Stores(Parts):
    """The sides of the store that these settings name; each process opens only those that it needs."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings

    @Once
    def presence(self) -> sqlite.InstanceLock:
        """Be there, so that nobody puts another database in the place of this one. Raises InTheWay."""
        return sqlite.InstanceLock(self.settings.database)

    @Once
    def sealer(self) -> sqlite.Sealer:
        """Return what seals and opens what is stored. Raises ConfigError."""
        return sqlite.Sealer(self.settings.path(self.settings.inbox.key_file), self.settings.inbox.seal_key)

    @Once
    def sealed(self) -> "Connection":
        """Return a connection to the database for `inbox reseal`. Raises ConfigError."""
        return sqlite.open_sealed(self.settings.database, self.sealer)

    @Once
    def erasing(self) -> "SqliteErasing":
        """Return what destroys the content of events. Raises ConfigError."""
        return sqlite.open_erasing(self.settings.database, self.sealer)

    @Once
    def archive(self) -> Archive:
        """Return the owner's side of the store."""
        return sqlite.open_archive(self.settings.database, sealer=self.sealer)

    @Once
    def acting(self) -> Acting:
        """Return the side of the store that records actions and pauses."""
        return sqlite.open_acting(self.settings.database, sealer=self.sealer)

    @Once
    def finding(self) -> EventSearch:
        """Return the side of those who look for events."""
        return sqlite.open_finding(self.settings.database)

    @Once
    def access(self) -> Access:
        """Return who may see the pages."""
        return sqlite.open_access(self.settings.database)

    @Once
    def keeping(self) -> Keeping:
        """Return the retention side of the store."""
        return sqlite.open_keeping(self.settings.database)

    @Once
    def pruning(self) -> Keeping:
        """Return the retention side of the store for what need not be durable, so that no step waits for the disk."""
        return sqlite.open_keeping(self.settings.database, durable=False)
