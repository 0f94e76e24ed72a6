"""The senders this inbox knows, by name; `build` makes one of a `[sources.NAME]` table."""

from collections.abc import Mapping

from inbox.config import SourceSettings, bind
from inbox.errors import ConfigError
from inbox.providers.base import Provider
from inbox.providers.breakcold import Breakcold
from inbox.providers.breakcold_v2 import BreakcoldV2
from inbox.providers.generic import GenericBasic, GenericHmac, GenericToken
from inbox.providers.lemlist import Lemlist
from inbox.providers.romify import Romify
from inbox.providers.roomle import Roomle
from inbox.providers.roomz import Roomz
from inbox.providers.rootfi import Rootfi
from inbox.providers.standard_webhooks import StandardWebhooks
from inbox.providers.unsigned import Unsigned

PROVIDERS: Mapping[str, type[Provider]] = {
    cls.name: cls
    for cls in (
        Breakcold,
        BreakcoldV2,
        Lemlist,
        Romify,
        Roomle,
        Roomz,
        Rootfi,
        StandardWebhooks,
        GenericHmac,
        GenericToken,
        GenericBasic,
        Unsigned,
    )
}


def build(settings: SourceSettings, file: str = "inbox.toml") -> Provider:
    """Return the source's provider with its settings checked.

    Raises ConfigError that names file, key and what is allowed.
    """
    where = f"{file}: sources.{settings.name}"
    cls = PROVIDERS.get(settings.provider)
    if cls is None:
        raise ConfigError(f"{where}.provider", f"{settings.provider!r} is unknown; allowed: {', '.join(PROVIDERS)}")
    provider = bind(cls, {**settings.options, "secrets": list(settings.secrets)}, where)
    try:
        provider.check()
    except ValueError as error:
        raise ConfigError(where, str(error)) from None
    return provider
