"""`send`: a request signed as the sender would sign it, over real HTTP."""

import http.client
import json
import ssl
import time
import uuid
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

import click

from inbox.cli.context import opened
from inbox.cli.output import dump
from inbox.core.errors import InboxError, NotFound
from inbox.core.models import Request
from inbox.runtime import Runtime
from inbox.verify.providers.base import Provider, encode


@click.command()
@click.argument("source")
@click.option("--type", "event_type", default="", help="Event type; default: the sender's most usual one.")
@click.option("--data", type=click.File("rb"), help="File with the body; default: a sample such as the sender sends.")
@click.option("--to", "url", help="Address; default: this inbox's own.")
@click.option(
    "--times",
    type=click.IntRange(1, 1_000_000),
    default=1,
    show_default=True,
    help="How often; samples are fresh each time, a --data file is sent as it is.",
)
@click.option("--insecure", is_flag=True, help="Do not check the certificate.")
@click.option("--json", "as_json", is_flag=True, help="Print an array with each answer.")
def send(source: str, event_type: str, data: Any, url: str | None, times: int, insecure: bool, as_json: bool) -> None:
    """Send SOURCE a request that is signed as its sender would sign it."""
    runtime = opened()
    provider = runtime.sources.get(source)
    if provider is None:
        raise NotFound(f"no source is called {source}; configured: {', '.join(runtime.sources) or 'none'}")
    body = data.read() if data is not None else None
    target = url or _own_address(runtime, source)
    answers = []
    for _ in range(times):
        at = time.time()
        answer = post(target, signed(provider, event_type, body, at=at), insecure=insecure)
        answers.append(answer)
        if not as_json:
            click.echo(f"{answer['http_status']} {json.dumps(answer['answer'])}")
    if as_json:
        dump(answers)
    if any(answer["http_status"] >= 300 for answer in answers):
        raise click.exceptions.Exit(1)


def signed(provider: Provider, event_type: str, body: bytes | None, *, at: float) -> Request:
    """Return a request as the sender would send it now; without a body, around a fresh sample."""
    fresh = str(uuid.uuid4())
    if body is None:
        body = encode(provider.sample(event_type, id=fresh, at=at))
    return provider.sign(provider.compose(body, event_type, id=fresh, at=at), at=at)


def post(url: str, request: Request, *, insecure: bool = False, timeout: float = 30.0) -> dict[str, Any]:
    """Send the request and return {"http_status": …, "answer": …}. Raises InboxError if nobody answers."""
    parts, connection = _connection(url, insecure=insecure, timeout=timeout)
    path = quote(parts.path.rstrip("/"), safe="/%:@!$&'()*+,;=~") + (f"/{quote(request.path)}" if request.path else "")
    query = "&".join(filter(None, (parts.query, request.query)))
    try:
        connection.request(request.method, path + (f"?{query}" if query else ""), request.body, dict(request.headers))
        response = connection.getresponse()
        text = response.read().decode("utf-8", "replace")
    except ssl.SSLCertVerificationError as error:
        hint = "; --insecure does not check it" if not insecure else ""
        raise InboxError(f"{url}: its certificate is not trusted: {error.verify_message}{hint}") from None
    except ssl.SSLError as error:
        raise InboxError(f"{url} does not speak TLS ({error.reason}); is it http instead of https?") from None
    except OSError as error:
        raise InboxError(f"{url} does not answer: {error}; is `inbox run` running?") from None
    except http.client.HTTPException as error:
        raise InboxError(f"{url} does not speak HTTP ({type(error).__name__}); is it https instead of http?") from None
    except ValueError as error:
        raise InboxError(f"the request to {url} cannot be written: {error}") from None
    finally:
        connection.close()
    try:
        return {"http_status": response.status, "answer": json.loads(text)}
    except ValueError:
        return {"http_status": response.status, "answer": text[:1000]}


def _connection(url: str, *, insecure: bool, timeout: float) -> tuple[SplitResult, http.client.HTTPConnection]:
    """Return the parts of the address and a connection that is not open yet. Raises InboxError."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = SplitResult("", "", "", "", ""), None, None
    if host and parts.scheme == "http":
        return parts, http.client.HTTPConnection(host, port, timeout=timeout)
    if host and parts.scheme == "https":
        context = _no_questions() if insecure else None
        return parts, http.client.HTTPSConnection(host, port, timeout=timeout, context=context)
    raise InboxError(f"{url} is not an http or https address")


def _no_questions() -> ssl.SSLContext:
    """Return a context that takes any certificate: for `--insecure` only."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _own_address(runtime: Runtime, source: str) -> str:
    server = runtime.settings.server
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(server.host, server.host)  # noqa: S104
    host = f"[{host}]" if ":" in host else host
    return f"{'https' if server.tls_cert else 'http'}://{host}:{server.port}/in/{source}"


COMMANDS = (send,)
