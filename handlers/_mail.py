"""E-mail over SMTP, or into files where no server is configured.

SMTP_URL    smtp://[user:password@]host[:587] (STARTTLS where it is offered) or smtps://[user:password@]host[:465]
MAIL_FROM   the sender, such as `Shop <shop@example.com>`; needed with SMTP_URL
INBOX_DATA  without SMTP_URL, messages go to its folder `mail`, one `.eml` per idempotency key
"""

import os
import smtplib
import ssl
from contextlib import suppress
from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any
from urllib.parse import unquote, urlsplit

from inbox import Discard, Event, Retry

from ._data import folder, write

_HERE = ("localhost", "127.0.0.1", "::1")
_TIMEOUT = 15.0


def send(event: Event, *, to: Any, subject: str, content: str) -> str:
    """Send a text unless another worker has taken over, and return how: "smtp" or the name of a file.

    Its Message-ID is made of the event's idempotency key, so a second run sends what mail systems know already.
    Raises Discard if `to` is not one address, Retry if the delivery is not ours any more, and OSError or
    smtplib.SMTPException if nothing can be sent now.
    """
    message = EmailMessage()  # which refuses line breaks in headers
    url = os.environ.get("SMTP_URL", "")
    message["From"] = os.environ.get("MAIL_FROM") or _unset(url)
    message["To"] = _one_address(to)
    message["Subject"] = subject
    message["Date"] = datetime.now(UTC)
    message["Message-ID"] = f"<{event.idempotency_key}@{message['From'].addresses[0].domain}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(content, cte="quoted-printable")
    if not url:
        name = f"{event.idempotency_key}.eml"
        write(folder("mail") / name, message.as_bytes(policy=SMTP))
        return name
    server = _connected(url)
    try:
        if not event.still_mine():
            raise Retry("another worker has this delivery now")
        server.send_message(message)
        with suppress(smtplib.SMTPException):  # it is sent, whatever becomes of the goodbye
            server.quit()
    finally:
        server.close()
    return "smtp"


def _one_address(value: Any) -> Address:
    try:
        address = Address(addr_spec=value.strip())
        return Address(username=address.username, domain=address.domain.encode("idna").decode())
    except (AttributeError, IndexError, ValueError, MessageError):
        raise Discard("this is not one e-mail address") from None


def _unset(url: str) -> str:
    if url:
        raise ValueError("SMTP_URL is set, but MAIL_FROM is not")
    return "webhook-inbox@localhost"


def _connected(url: str) -> smtplib.SMTP:
    """Return a server that is ready to take mail; a password never travels in the clear, save on this machine."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        if parts.scheme not in ("smtp", "smtps") or not host:
            raise ValueError
    except ValueError:  # whose text may hold a part of the password
        raise ValueError(
            "SMTP_URL must be smtp://user:password@host:587 or smtps://…; / and @ in a password are written %2F and %40"
        ) from None
    context = ssl.create_default_context()
    server = (
        smtplib.SMTP_SSL(host, port or 465, timeout=_TIMEOUT, context=context)
        if parts.scheme == "smtps"
        else smtplib.SMTP(host, port or 587, timeout=_TIMEOUT)
    )
    try:
        server.ehlo_or_helo_if_needed()
        if parts.scheme == "smtp" and host not in _HERE:
            if server.has_extn("starttls"):
                server.starttls(context=context)
            elif parts.username:
                raise ConnectionError("the SMTP server offers no STARTTLS, so it is not told the password")
        if parts.username:
            server.login(unquote(parts.username), unquote(parts.password or ""))
    except BaseException:
        server.close()
        raise
    return server
