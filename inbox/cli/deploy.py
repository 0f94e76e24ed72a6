"""`deploy`: configuration of what stands around the inbox, made from inbox.toml."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import click
from click import ParamType

from inbox.cli.context import opened
from inbox.runtime import Runtime
from inbox.tools.deploy import compatibility, proxies
from inbox.tools.deploy import systemd as unit
from inbox.tools.deploy.prometheus import rules

_DOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_PLAIN = re.compile(r"/[A-Za-z0-9._/@+-]*")
_PAGES = ("/readyz", "/metrics", "/inbox/")


class _Domain(ParamType[str]):
    name = "domain"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not _DOMAIN.fullmatch(value.lower()):
            self.fail(f"{value!r} is not a host name such as hooks.example.com", param, ctx)
        return value.lower()


class _File(ParamType[Path]):
    """A path that needs no quotes in any of the files that are made."""

    name = "file"

    def convert(self, value: str | Path, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(value).absolute()
        if not _PLAIN.fullmatch(str(path)):
            self.fail(f"{str(path)!r}: allowed are letters, digits and . _ / @ + -", param, ctx)
        return path


@click.group()
def deploy() -> None:
    """Print configuration for what stands around the inbox, from inbox.toml; what does not fit is told on stderr."""


def _of_proxy(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that both proxies have."""
    port = click.IntRange(1, 65535)
    for option in (
        click.option("--public", multiple=True, type=click.Choice(_PAGES), help="Further pages for everybody."),
        click.option("--https-port", type=port, default=443, show_default=True),
        click.option("--http-port", type=port, default=80, show_default=True),
        click.option("--key", type=_File(), help="Its key, PEM."),
        click.option("--cert", type=_File(), help="The certificate with its chain, PEM."),
        click.option("--domain", type=_Domain(), required=True, help="Where senders send to: hooks.example.com."),
    ):
        command = option(command)
    return command


@deploy.command()
@_of_proxy
def nginx(
    domain: str, cert: Path | None, key: Path | None, http_port: int, https_port: int, public: tuple[str, ...]
) -> None:
    """Print a file for nginx's conf.d. Certificate and key: those of certbot, unless they are named."""
    _both_or_neither(cert, key)
    folder = Path("/etc/letsencrypt/live", domain)
    files = (cert or folder / "fullchain.pem", key or folder / "privkey.pem")
    click.echo(proxies.nginx(_site(domain, *files, http_port, https_port, public)), nl=False)


@deploy.command()
@_of_proxy
@click.option("--caddy-version", metavar="VERSION", help="Such as 2.6.2; default: the one installed here.")
def caddy(
    domain: str,
    cert: Path | None,
    key: Path | None,
    http_port: int,
    https_port: int,
    public: tuple[str, ...],
    caddy_version: str | None,
) -> None:
    """Print a Caddyfile. Caddy gets and renews its certificate by itself, unless one is named."""
    _both_or_neither(cert, key)
    made = _site(domain, cert, key, http_port, https_port, public)
    click.echo(proxies.caddy(made, version=_version(caddy_version or _installed_caddy())), nl=False)


@deploy.command()
@click.option("--user", default="inbox", show_default=True, help="The user that it runs as.")
@click.option("--socket", is_flag=True, help="Print inbox.socket, which keeps the port open over restarts.")
def systemd(user: str, socket: bool) -> None:
    """Print inbox.service, or inbox.socket with --socket."""
    if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,30}", user):
        raise click.BadParameter(f"{user!r} is not the name of a user", param_hint="--user")
    runtime = opened()
    _tell(compatibility.alone(runtime.settings.server))
    if socket:
        click.echo(unit.socket(runtime.settings), nl=False)
        return
    for path in unit.paths(runtime.settings, Path(sys.executable)):
        if not _PLAIN.fullmatch(str(path)):
            raise click.ClickException(f"{str(path)!r} needs quotes; allowed are letters, digits and . _ / @ + -")
    click.echo(unit.service(runtime.settings, Path(sys.executable), Path(sys.base_prefix), user=user), nl=False)


@deploy.command()
def prometheus() -> None:
    """Print alert rules with the thresholds of [alarms], and how to scrape the inbox."""
    runtime = opened()
    if runtime.settings.server.metrics == "off":
        _tell(
            ['metrics = "off" in [server]: there is nothing to scrape; "loopback" is for a Prometheus on this machine']
        )
    click.echo(rules(runtime.settings), nl=False)


def _site(
    domain: str, cert: Path | None, key: Path | None, http_port: int, https_port: int, public: tuple[str, ...]
) -> proxies.Site:
    runtime = opened()
    server = runtime.settings.server
    _tell(compatibility.behind_proxy(server, (http_port, https_port)))
    return proxies.Site(
        domain=domain,
        upstream=proxies.upstream(server),
        max_body=_largest(runtime),
        answer_in=proxies.answer_in(server),
        cert=cert,
        key=key,
        http_port=http_port,
        https_port=https_port,
        pages=public,
    )


def _largest(runtime: Runtime) -> int:
    return max((source.max_body for source in runtime.sources.values()), default=proxies.LARGEST)


def _tell(problems: Iterable[str]) -> None:
    for problem in problems:
        click.echo(f"warning: {problem}", err=True)


def _both_or_neither(cert: Path | None, key: Path | None) -> None:
    if (cert is None) != (key is None):
        raise click.UsageError("--cert and --key: both or neither")


def _installed_caddy() -> str:
    """Return the version of the Caddy on this machine; nothing if there is none."""
    path = shutil.which("caddy")
    if path is None:
        return ""
    try:
        return subprocess.run([path, "version"], capture_output=True, text=True, timeout=10).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def _version(text: str) -> tuple[int, ...]:
    """Return the numbers of a version such as `v2.6.2 h1:…`; a recent one if there are none."""
    found = re.match(r"v?(\d+(?:\.\d+){1,2})", text)
    return tuple(int(part) for part in found[1].split(".")) if found else (2, 11)


COMMANDS = (deploy,)
