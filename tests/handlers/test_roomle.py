"""Roomle: the e-mails that Roomle leaves to its receiver, over a real SMTP server."""

import email
import json
import socket
import ssl
from asyncio import Transport
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.policy import default
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from inbox import Retry
from inbox.deliver.handler_loader import load
from inbox.testing import Inbox, sample
from tests.handlers.conftest import Run

ELSEWHERE = "127.0.0.2"
"""An address of this machine that the handler does not take for this machine."""


class Mailbox:
    """What the server was sent; with `refusal`, the answer to every mail instead."""

    def __init__(self, refusal: str = "") -> None:
        self.refusal = refusal
        self.mails: list[tuple[list[str], EmailMessage]] = []
        self.logins: list[tuple[bytes, bytes]] = []
        self.encrypted: list[bool] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.refusal:
            return self.refusal
        message = email.message_from_bytes(envelope.original_content or b"", policy=default)
        assert isinstance(message, EmailMessage)
        self.mails.append((list(envelope.rcpt_tos), message))
        assert server.transport is not None
        self.encrypted.append(server.transport.get_extra_info("ssl_object") is not None)
        return "250 OK"

    def login(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login, data.password))
        return AuthResult(success=data.password == b"p/ss")


@contextmanager
def served(mailbox: Mailbox, host: str = "127.0.0.1", **options: Any) -> Iterator[int]:
    """Run a server with this mailbox and give its port."""
    with closing(socket.create_server((host, 0))) as probe:
        port = probe.getsockname()[1]
    controller = Controller(mailbox, hostname=host, port=port, **options)
    controller.start()
    try:
        yield port
    finally:
        controller.stop()


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Set the settings as an owner would."""

    def set_url(url: str) -> None:
        monkeypatch.setenv("SMTP_URL", url)
        monkeypatch.setenv("MAIL_FROM", "The Shop <shop@example.com>")

    return set_url


@pytest.fixture
def mailbox(configure: Callable[[str], None]) -> Iterator[Mailbox]:
    """A mailbox behind a server on this machine that the settings name."""
    made = Mailbox()
    with served(made) as port:
        configure(f"smtp://127.0.0.1:{port}")
        yield made


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's certificate for ELSEWHERE that this process trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(ELSEWHERE))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "server.pem"
    pem.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + certificate.public_bytes(Encoding.PEM)
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


def asked(event: str = "email.savedConfiguration", **members: Any) -> dict[str, Any]:
    """Return what Roomle posts when somebody asks for an e-mail."""
    data = {"success": True, "email": "ada@example.com", "url": "https://www.roomle.com/t/cp/?id=a:b&c=d", **members}
    return {"event": event, "data": data}


def statuses(event: dict[str, Any]) -> list[str]:
    """Return the statuses of an event's deliveries."""
    return [delivery["status"] for delivery in event["deliveries"]]


def files(data: Path) -> list[Path]:
    """Return everything in the folder of mails, hidden files too."""
    return sorted((data / "mail").iterdir()) if (data / "mail").exists() else []


@pytest.mark.parametrize(
    ("event_type", "subject"),
    [
        ("email.savedConfiguration", "Your saved configuration"),
        ("email.shareConfiguration", "A configuration for you"),
        ("email.shareConfigurationAR", "Your configuration in augmented reality"),
        ("email.3DExportAsset", "Your 3D export"),
        ("email.somethingNew", "Your configuration"),
    ],
)
def test_mail_is_sent(run: Run, mailbox: Mailbox, data: Path, event_type: str, subject: str) -> None:
    """Each type has its subject; the mail goes to who asked, with the link."""
    event = run("roomle", asked(event_type))
    [(recipients, message)] = mailbox.mails
    assert "succeeded" == event["status"]
    assert ["ada@example.com"] == recipients
    assert ("The Shop <shop@example.com>", "ada@example.com", subject) == (
        message["From"],
        message["To"],
        message["Subject"],
    )
    assert "https://www.roomle.com/t/cp/?id=a:b&c=d" in message.get_content().splitlines()
    assert [] == files(data)


def test_sample_is_sent(run: Run, mailbox: Mailbox) -> None:
    """What `inbox send roomle` sends becomes a mail."""
    assert "succeeded" == run("roomle")["status"]
    assert 1 == len(mailbox.mails)


def test_export_has_both_links(run: Run, mailbox: Mailbox) -> None:
    """A 3D export names the asset too; other mails do not, whatever the payload holds."""
    asset = "https://assets.roomle.com/" + "x" * 1200 + ".glb"
    run("roomle", asked("email.3DExportAsset", resultUrl=asset))
    run("roomle", asked("email.shareConfiguration", resultUrl=asset))
    assert [True, False] == [asset in message.get_content() for _, message in mailbox.mails]


def test_second_run_has_the_same_message_id(inbox: Inbox, run: Run, mailbox: Mailbox) -> None:
    """A replay is recognisable by its Message-ID, another event has another."""
    event = run("roomle", asked())
    inbox.replay(event["id"])
    inbox.run()
    inbox.advance(60)
    run("roomle", asked())
    first, again, other = (message["Message-ID"] for _, message in mailbox.mails)
    assert first == again != other
    assert first.endswith("@example.com>")


@pytest.mark.parametrize("refusal", ["451 try again later", "554 no"])
def test_refused_mail_is_tried_again(
    inbox: Inbox, run: Run, configure: Callable[[str], None], data: Path, refusal: str
) -> None:
    """What the server refuses waits for the next attempt, and then goes out once."""
    mailbox = Mailbox(refusal)
    with served(mailbox) as port:
        configure(f"smtp://127.0.0.1:{port}")
        event = run("roomle", asked())
        assert ("processing", ["retrying"]) == (event["status"], statuses(event))
        assert refusal.split()[0] in event["deliveries"][0]["error"]
        mailbox.refusal = ""
        inbox.advance(3600)
        inbox.run()
    assert "succeeded" == inbox.event(event["id"])["status"]
    assert 1 == len(mailbox.mails)
    assert [] == files(data)


def test_server_that_is_away_loses_nothing(inbox: Inbox, run: Run, configure: Callable[[str], None]) -> None:
    """Without a connection the delivery waits."""
    mailbox = Mailbox()
    with served(mailbox) as port:
        pass
    configure(f"smtp://127.0.0.1:{port}")
    event = run("roomle", asked())
    assert ["retrying"] == statuses(event)
    assert "ConnectionRefusedError" in event["deliveries"][0]["error"]


def test_goodbye_that_fails_does_not_send_twice(inbox: Inbox, run: Run, mailbox: Mailbox) -> None:
    """Once the server has taken the mail, the run has succeeded."""

    async def handle_QUIT(server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(server.transport, Transport)
        server.transport.abort()
        return "221 Bye"

    mailbox.handle_QUIT = handle_QUIT  # type: ignore[attr-defined]
    assert "succeeded" == run("roomle", asked())["status"]
    assert 1 == len(mailbox.mails)


def test_lost_delivery_is_not_sent(handlers: Path, mailbox: Mailbox) -> None:
    """A worker that was taken for dead does not send: another one has the delivery."""
    send_email = load(handlers).handlers["roomle.send_email"].function
    with pytest.raises(Retry):
        send_email(replace(sample("roomle", asked()), still_mine=lambda: False))
    assert [] == mailbox.mails


def test_without_a_server_mails_are_files(inbox: Inbox, run: Run, data: Path) -> None:
    """Without SMTP_URL the mail is one file, called by the idempotency key, also after a second run."""
    event = run("roomle", asked())
    inbox.replay(event["id"])
    inbox.run()
    [path] = files(data)
    message = email.message_from_bytes(path.read_bytes(), policy=default)
    assert f"<{path.stem}@localhost>" == message["Message-ID"]
    assert ("ada@example.com", ".eml") == (message["To"], path.suffix)
    assert 32 == len(path.stem)
    assert ["succeeded", "succeeded"] == statuses(inbox.event(event["id"]))


@pytest.mark.parametrize(
    "address",
    [
        "ada@example.com\r\nBcc: eve@example.com",
        "ada@example.com\nSubject: x",
        "ada@example.com, eve@example.com",
        "ada@example.com eve@example.com",
        "ada@example.com;eve@example.com",
        "Ada <ada@example.com>",
        "group:ada@example.com;",
        "ada@example.com\0",
        "ada",
        "@example.com",
        "ada@",
        "ada@.",
        "ada@" + "x" * 64 + ".com",
        "ädä@example.com",
        "\ud800@example.com",
        " ",
    ],
)
def test_what_is_not_one_address_is_discarded(inbox: Inbox, mailbox: Mailbox, address: str) -> None:
    """No header can be slipped in, no second recipient, and what cannot be sent is not tried for days."""
    answer = inbox.receive("roomle", json.dumps(asked(email=address)).encode())
    inbox.run()
    assert ["discarded"] == statuses(inbox.event(answer.id))
    assert [] == mailbox.mails


@pytest.mark.parametrize(
    ("address", "recipient"),
    [(" ada@example.com ", "ada@example.com"), ("ada@bücher.example", "ada@xn--bcher-kva.example")],
)
def test_address_is_put_right(run: Run, mailbox: Mailbox, address: str, recipient: str) -> None:
    """Spaces around an address and a domain with umlauts are no reason not to send."""
    run("roomle", asked(email=address))
    assert [[recipient]] == [recipients for recipients, _ in mailbox.mails]


@pytest.mark.parametrize(
    "members",
    [
        {"success": False},
        {"url": None},
        {"url": ""},
        {"url": "javascript:alert(1)"},
        {"url": "https://example.com\nDear customer, pay here"},
    ],
)
def test_nothing_to_send_is_discarded(run: Run, mailbox: Mailbox, members: dict[str, Any]) -> None:
    """Where Roomle failed, or there is no link, no mail goes out."""
    assert ["discarded"] == statuses(run("roomle", asked(**members)))
    assert [] == mailbox.mails


@pytest.mark.parametrize(
    "payload", [{"event": "email.savedConfiguration", "data": {}}, asked(email=None), asked(email=[])]
)
def test_missing_address_is_discarded(inbox: Inbox, mailbox: Mailbox, payload: Any) -> None:
    """Without an address the event is quarantined, and discarded if it is forced."""
    answer = inbox.receive("roomle", payload)
    assert "quarantined" == answer.status
    inbox.replay(answer.id, force=True)
    inbox.run()
    assert ["discarded"] == statuses(inbox.event(answer.id))
    assert [] == mailbox.mails


def test_older_page_without_success_is_sent(run: Run, mailbox: Mailbox) -> None:
    """`success` is missing in older payloads and not required."""
    payload = asked()
    del payload["data"]["success"]
    run("roomle", payload)
    assert 1 == len(mailbox.mails)


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_password_goes_over_tls(run: Run, configure: Callable[[str], None], tls: ssl.SSLContext, scheme: str) -> None:
    """With STARTTLS or TLS from the start, the mail and the password travel encrypted."""
    mailbox = Mailbox()
    starttls = {"tls_context": tls, "require_starttls": True, "auth_required": True}
    options = starttls if scheme == "smtp" else {"ssl_context": tls, "auth_require_tls": False}
    with served(mailbox, ELSEWHERE, authenticator=mailbox.login, **options) as port:
        configure(f"{scheme}://us%40er:p%2Fss@{ELSEWHERE}:{port}")
        event = run("roomle", asked())
    assert "succeeded" == event["status"]
    assert [(b"us@er", b"p/ss")] == mailbox.logins
    assert [True] == mailbox.encrypted


def test_stranger_with_another_certificate_gets_nothing(
    run: Run, configure: Callable[[str], None], tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A certificate that is not trusted ends the attempt before the password."""
    monkeypatch.delenv("SSL_CERT_FILE")
    mailbox = Mailbox()
    with served(mailbox, ELSEWHERE, authenticator=mailbox.login, tls_context=tls) as port:
        configure(f"smtp://user:p%2Fss@{ELSEWHERE}:{port}")
        event = run("roomle", asked())
    assert ["retrying"] == statuses(event)
    assert "SSLCertVerificationError" in event["deliveries"][0]["error"]
    assert ([], []) == (mailbox.logins, mailbox.mails)


def test_password_is_not_sent_in_the_clear(run: Run, configure: Callable[[str], None]) -> None:
    """A server elsewhere that offers no STARTTLS is not told the password."""
    mailbox = Mailbox()
    with served(mailbox, ELSEWHERE, authenticator=mailbox.login, auth_require_tls=False) as port:
        configure(f"smtp://user:p%2Fss@{ELSEWHERE}:{port}")
        event = run("roomle", asked())
    assert ["retrying"] == statuses(event)
    assert "STARTTLS" in event["deliveries"][0]["error"]
    assert ([], []) == (mailbox.logins, mailbox.mails)


@pytest.mark.parametrize(
    "url",
    ["smtp://user:geheim/x@host:587", "smtp://", "http://user:geheim@host", "host:25", "smtp://u:geheim@host:99999"],
)
def test_unusable_settings_are_named_without_the_password(
    run: Run, configure: Callable[[str], None], url: str, logs: list[Any]
) -> None:
    """A wrong SMTP_URL keeps the event and names the setting; its password shows nowhere."""
    configure(url)
    event = run("roomle", asked())
    assert ["retrying"] == statuses(event)
    assert "SMTP_URL must be" in event["deliveries"][0]["error"]
    assert "geheim" not in str(event) + str(logs)


def test_missing_sender_is_named(run: Run, configure: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """SMTP_URL without MAIL_FROM keeps the event and says what is missing."""
    configure("smtp://127.0.0.1:9")
    monkeypatch.delenv("MAIL_FROM")
    event = run("roomle", asked())
    assert ["retrying"] == statuses(event)
    assert "MAIL_FROM" in event["deliveries"][0]["error"]
