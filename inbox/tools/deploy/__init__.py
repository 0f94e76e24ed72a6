"""Settings → configuration of what stands around the inbox: Caddy or nginx in front of it, systemd above it.

Each file is a template beside this one, filled from a Site or a Unit; nothing is written and nothing is started.
`inbox.cli.deploy` prints it. What does not fit behind a proxy is in `inbox.tools.deploy.compatibility`.
"""

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def render(template: str, values: Mapping[str, Any]) -> str:
    """Return a template of this package, filled; a value that is missing is an error."""
    environment = Environment(  # noqa: S701 – these are no web pages: their values are quoted where they are made
        loader=PackageLoader("inbox.tools.deploy", "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(values)
