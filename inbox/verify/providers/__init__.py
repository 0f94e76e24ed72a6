"""The senders this inbox knows, by name; `build` makes one of a `[sources.NAME]` table."""

from collections.abc import Mapping

from inbox.core.config.settings import SourceSettings, bind
from inbox.core.errors import ConfigError
from inbox.verify.providers.base import Provider
from inbox.verify.providers.breakcold import Breakcold
from inbox.verify.providers.breakcold_v2 import BreakcoldV2
from inbox.verify.providers.generic import GenericBasic, GenericHmac, GenericToken
from inbox.verify.providers.lemlist import Lemlist
from inbox.verify.providers.romify import Romify
from inbox.verify.providers.roomle import Roomle
from inbox.verify.providers.roomz import Roomz
from inbox.verify.providers.rootfi import Rootfi
from inbox.verify.providers.standard_webhooks import StandardWebhooks
from inbox.verify.providers.unsigned import Unsigned

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
