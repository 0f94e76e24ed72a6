"""The ways by which people are told: e-mail, webhook, command. Each sends one message or raises NotSent.

Every way has a time limit. What an error says is kept in the store, so it never holds a secret.
"""

import http.client
import json
import os
import signal
import smtplib
import ssl
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from email.message import EmailMessage
from email.utils import format_datetime
from urllib.parse import urlsplit

from inbox.core.config.alarm_settings import AlarmSettings
from inbox.core.errors import ConfigError
from inbox.core.models import Request, utc
from inbox.operate.alarms.message import Message
from inbox.verify.schemes.standard_webhooks import StandardWebhooksScheme

Send = Callable[[Message, float], None]
"""Sends a message at a Unix time, or raises NotSent."""


class NotSent(Exception):
    """The message did not get through."""


def ways(settings: AlarmSettings) -> Mapping[str, Send]:
    """Return the configured ways by name. Raises ConfigError if the secret of the webhook cannot sign."""
    if settings.webhook_secret is not None:
        try:
            StandardWebhooksScheme().sign(Request(), settings.webhook_secret, at=0.0)
        except ValueError as error:
            raise ConfigError("inbox.toml: alarms.webhook_secret", str(error)) from None
    known: dict[str, Callable[[Message, float, AlarmSettings], None]] = {
        "email": email,
        "webhook": webhook,
        "command": command,
    }
    return {name: _with(known[name], settings) for name in settings.ways}


def _with(send: Callable[[Message, float, AlarmSettings], None], settings: AlarmSettings) -> Send:
    return lambda message, at: send(message, at, settings)


def email(message: Message, at: float, settings: AlarmSettings) -> None:
    """Send a mail over TLS, with a login if there is one. Raises NotSent."""
    mail = EmailMessage()
    mail["From"], mail["To"] = settings.sender, ", ".join(settings.email)
    mail["Subject"] = f"[webhook-inbox] {message.title}"
    mail["Date"] = format_datetime(utc(at))
    mail["Message-ID"] = f"<{message.id}@{settings.sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(message.text)
    try:
        with _server(settings) as server:
            if settings.smtp_password is not None:
                server.login(settings.smtp_user, settings.smtp_password.reveal().decode())
            refused = server.send_message(mail)
    except smtplib.SMTPResponseException as error:
        said = error.smtp_error.decode("utf-8", "replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
        raise NotSent(f"the mail server says {error.smtp_code} {said}"[:300]) from None
    except (smtplib.SMTPException, OSError, UnicodeError) as error:
        raise NotSent(f"mail server {settings.smtp}: {_said(error)}"[:300]) from None
    if refused:
        raise NotSent(f"the mail server does not take mail for {', '.join(sorted(refused))}")


def _server(settings: AlarmSettings) -> smtplib.SMTP:
    """Return a connection to the mail server; encrypted, unless that is this machine and the owner says so."""
    host, port = settings.server
    if settings.smtp_security == "tls":
        context = ssl.create_default_context()
        return smtplib.SMTP_SSL(host, port, timeout=settings.send_timeout, context=context)
    server = smtplib.SMTP(host, port, timeout=settings.send_timeout)
    try:
        if settings.smtp_security == "starttls":
            server.starttls(context=ssl.create_default_context())
    except BaseException:
        server.close()
        raise
    return server


def webhook(message: Message, at: float, settings: AlarmSettings) -> None:
    """Post the message as JSON, signed as Standard Webhooks; only 2xx is sent, a redirect is not. Raises NotSent."""
    assert settings.webhook_secret is not None
    body = json.dumps(message.content, ensure_ascii=False).encode()
    headers = (("content-type", "application/json"), ("user-agent", "webhook-inbox"), ("webhook-id", message.id))
    signed = StandardWebhooksScheme().sign(Request(headers=headers, body=body), settings.webhook_secret, at=at)
    parts = urlsplit(settings.webhook)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=settings.send_timeout)
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", path, signed.body, dict(signed.headers))
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NotSent(f"{parts.hostname}: {_said(error)}"[:300]) from None
    finally:
        connection.close()
    if not 200 <= status <= 299:
        raise NotSent(f"{parts.hostname} answered {status}")


def command(message: Message, at: float, settings: AlarmSettings) -> None:
    """Run the command with the message as JSON on its standard input; it has to end with 0 in time. Raises NotSent."""
    content = json.dumps({"id": message.id, **message.content}, ensure_ascii=False).encode()
    try:
        process = subprocess.Popen(
            list(settings.command),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise NotSent(f"{settings.command[0]} cannot be run: {error.strerror}") from None
    try:
        _, said = process.communicate(content, settings.send_timeout)
    except subprocess.TimeoutExpired:
        raise NotSent(f"{settings.command[0]} did not end in {settings.send_timeout:g} s") from None
    finally:
        _end(process)
    if process.returncode != 0:
        last = said.decode("utf-8", "replace").strip().splitlines()[-1:] or [""]
        raise NotSent(f"{settings.command[0]} ended with {process.returncode}: {last[0]}"[:300])


def _said(error: Exception) -> str:
    """Return what an error says; text that could not be encoded is not repeated, it may be a secret."""
    return type(error).__name__ if isinstance(error, UnicodeError) else str(error) or type(error).__name__


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what the command started and left behind, too."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stderr):
        if stream is not None:
            stream.close()
