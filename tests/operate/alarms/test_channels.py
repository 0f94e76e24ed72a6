"""Telling people, by the real thing: an SMTP server with TLS and login, an HTTP server, a program."""

import json
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import AuthResult

from inbox.core.config.alarm_settings import AlarmSettings
from inbox.core.errors import ConfigError, NotAuthentic
from inbox.core.models import Request, Secret, header_name
from inbox.operate.alarms.channels import NotSent, command, email, ways, webhook
from inbox.operate.alarms.message import Message, message
from inbox.store.protocols_alarms import Change
from inbox.verify.schemes.standard_webhooks import StandardWebhooksScheme
from tests.handlers.test_roomle import ELSEWHERE, Mailbox, served, tls  # noqa: F401 – the fixture is used by name

NOW = 1_767_225_600.0
SECRET = Secret(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
MESSAGE: Message = message(Change("silence", "roomz", "start", "last event 3 h ago", NOW, 7), "host:/inbox")


def mail_settings(port: int, host: str = "127.0.0.1", security: str = "none", **options: Any) -> AlarmSettings:
    return AlarmSettings(
        email=("you@example.com", "me@example.com"),
        sender="inbox@example.com",
        smtp=f"{host}:{port}",
        smtp_security=security,  # type: ignore[arg-type]
        send_timeout=5.0,
        **options,
    )


def login(mailbox: Mailbox) -> Any:
    """Return an authenticator that has the server say so when a password is wrong."""

    def check(*arguments: Any) -> AuthResult:
        return AuthResult(success=mailbox.login(*arguments).success, handled=False)

    return check


LOGIN = {"smtp_user": "ada", "smtp_password": Secret(b"p/ss")}


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_mail_is_sent_encrypted_after_a_login(tls: ssl.SSLContext, security: str) -> None:  # noqa: F811
    """Title, text and recipients arrive, and nothing was in the clear."""
    mailbox = Mailbox()
    options: dict[str, Any] = {"authenticator": login(mailbox)}
    options |= (
        {"tls_context": tls, "require_starttls": True, "auth_required": True}
        if security == "starttls"
        else {"ssl_context": tls}
    )
    if security == "tls":
        options["auth_require_tls"] = False  # aiosmtpd does not count the TLS that it is wrapped in
    with served(mailbox, ELSEWHERE, **options) as port:
        email(MESSAGE, NOW, mail_settings(port, ELSEWHERE, security, **LOGIN))
    [(recipients, mail)] = mailbox.mails
    assert ([b"ada", b"p/ss"], [True]) == (list(mailbox.logins[0]), mailbox.encrypted)
    assert ["you@example.com", "me@example.com"] == recipients
    assert ("[webhook-inbox] ALARM: no events from roomz", "inbox@example.com", "auto-generated") == (
        mail["Subject"],
        mail["From"],
        mail["Auto-Submitted"],
    )
    assert ("<inbox-alarm-7-1767225600@example.com>", NOW) == (mail["Message-ID"], mail["Date"].datetime.timestamp())
    assert "last event 3 h ago" in mail.get_content().splitlines()


def test_mail_without_tls_is_for_this_machine() -> None:
    """It works there, and `none` elsewhere is a configuration error (see test_config)."""
    mailbox = Mailbox()
    with served(mailbox) as port:
        email(MESSAGE, NOW, mail_settings(port))
    assert [False] == mailbox.encrypted


@pytest.mark.parametrize(
    ("security", "refusal", "password", "trusted", "said"),
    [
        ("starttls", "", b"an-old-one", True, "the mail server says 535"),
        ("starttls", "451 later", b"p/ss", True, "the mail server says 451 later"),
        ("starttls", "", b"p/ss", False, "certificate verify failed"),
        ("starttls", "", "pässwort".encode(), True, "UnicodeEncodeError"),
        ("tls", "", b"p/ss", True, "mail server 127.0.0.2"),  # the server speaks STARTTLS
    ],
)
def test_mail_that_does_not_get_through_is_said(
    tls: ssl.SSLContext,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    security: str,
    refusal: str,
    password: bytes,
    trusted: bool,
    said: str,
) -> None:
    """The error names what the server said, and never the password."""
    if not trusted:
        monkeypatch.delenv("SSL_CERT_FILE")
    mailbox = Mailbox(refusal)
    with served(mailbox, ELSEWHERE, authenticator=login(mailbox), tls_context=tls, auth_required=True) as port:
        settings = mail_settings(port, ELSEWHERE, security, smtp_user="ada", smtp_password=Secret(password))
        with pytest.raises(NotSent, match=said) as caught:
            email(MESSAGE, NOW, settings)
    assert ([], False) == (mailbox.mails, password.decode() in str(caught.value))


def test_mail_server_that_is_not_there_is_said() -> None:
    """Nobody listens."""
    with pytest.raises(NotSent, match=r"mail server 127\.0\.0\.1:1: .*refused"):
        email(MESSAGE, NOW, mail_settings(1))


class Hook:
    """A server that keeps what it was sent and answers with `status`, after `pause` seconds."""

    def __init__(self) -> None:
        self.status, self.pause = 204, 0.0
        self.requests: list[Request] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = tuple((header_name(name), value) for name, value in self.headers.items())
                hook.requests.append(Request("POST", self.path, headers=headers, body=body))
                time.sleep(hook.pause)
                self.send_response(hook.status)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def settings(self, **options: Any) -> AlarmSettings:
        url = f"http://127.0.0.1:{self.server.server_port}/hook?a=b"
        return AlarmSettings(webhook=url, webhook_secret=SECRET, **options)


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_webhook_is_signed_as_standard_webhooks(hook: Hook) -> None:
    """Our own verifier takes it, and refuses it with one byte changed; each try has the same id."""
    webhook(MESSAGE, NOW, hook.settings())
    webhook(MESSAGE, NOW + 60, hook.settings())
    first, second = hook.requests
    verified = StandardWebhooksScheme().verify(first, [SECRET], at=NOW)
    assert ("inbox-alarm-7-1767225600", first.header("webhook-id")) == (verified.key, second.header("webhook-id"))
    with pytest.raises(NotAuthentic):
        StandardWebhooksScheme().verify(first.replace(body=first.body + b" "), [SECRET], at=NOW)
    content = json.loads(first.body)
    assert ("inbox.alarm.start", "silence", "roomz", "last event 3 h ago", "host:/inbox", "/hook?a=b") == (
        content["type"],
        *(content["data"][name] for name in ("alarm", "subject", "text", "inbox")),
        first.path,
    )


@pytest.mark.parametrize("status", [302, 404, 500])
def test_webhook_that_is_not_answered_2xx_is_not_sent(hook: Hook, status: int) -> None:
    """A redirect is not followed."""
    hook.status = status
    with pytest.raises(NotSent, match=f"127.0.0.1 answered {status}"):
        webhook(MESSAGE, NOW, hook.settings())
    assert 1 == len(hook.requests)


def test_webhook_that_does_not_answer_in_time_is_not_sent(hook: Hook) -> None:
    """The time limit holds."""
    hook.pause = 1.0
    with pytest.raises(NotSent, match="timed out"):
        webhook(MESSAGE, NOW, hook.settings(send_timeout=0.2))


def program(folder: Path, code: str) -> tuple[str, ...]:
    path = folder / "page.py"
    path.write_text(code)
    return (sys.executable, str(path), "a b", "$HOME; echo")


def test_command_gets_the_message_and_no_shell(tmp_path: Path) -> None:
    """JSON on its standard input, its arguments as they are written."""
    code = f"import sys; open({str(tmp_path / 'got')!r}, 'w').write(repr(sys.argv[1:]) + sys.stdin.read())"
    command(MESSAGE, NOW, AlarmSettings(command=program(tmp_path, code)))
    arguments, _, content = (tmp_path / "got").read_text().partition("{")
    found = json.loads("{" + content)
    assert ("['a b', '$HOME; echo']", "inbox-alarm-7-1767225600", "inbox.alarm.start") == (
        arguments,
        found["id"],
        found["type"],
    )


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import sys; sys.exit('no pager')", "ended with 1: no pager"),
        ("import time; time.sleep(60)", "did not end in 0.5 s"),
    ],
)
def test_command_that_fails_is_said(tmp_path: Path, code: str, said: str) -> None:
    """Its exit code and last words, or that it took too long; it is ended."""
    with pytest.raises(NotSent, match=said):
        command(MESSAGE, NOW, AlarmSettings(command=program(tmp_path, code), send_timeout=0.5))


def test_command_that_is_not_there_is_said() -> None:
    """Like any other failure."""
    with pytest.raises(NotSent, match="/no/such/program cannot be run: No such file"):
        command(MESSAGE, NOW, AlarmSettings(command=("/no/such/program",)))


def test_secret_that_cannot_sign_is_a_configuration_error() -> None:
    """At start, not at the first alarm."""
    with pytest.raises(ConfigError, match=r"alarms\.webhook_secret: a whpk_ key checks signatures"):
        ways(
            AlarmSettings(
                webhook="https://example.com",
                webhook_secret=Secret(b"whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="),
            )
        )


def test_command_sees_only_configured_ways() -> None:
    """What is not set is no way."""
    assert [] == list(ways(AlarmSettings()))
    assert ["email", "command"] == list(ways(AlarmSettings(email=("a@b",), command=("x",))))
