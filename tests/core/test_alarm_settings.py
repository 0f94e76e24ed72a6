"""[alarms]: what it may hold, and one clear line for what it may not."""

from pathlib import Path

import pytest

from inbox.core.config.settings import Settings
from inbox.core.models import Secret
from tests.core.test_settings import problem, settings

MAIL = 'email = ["a@example.com"]\nsender = "inbox@example.com"\nsmtp = "mail.example.com"\n'


def alarms(folder: Path, text: str, **environ: str) -> Settings:
    return settings(folder, f"[alarms]\n{text}", **environ)


def test_every_way_is_read(tmp_path: Path) -> None:
    """Secrets are named, never written, and the ways are those that are set."""
    text = f"""{MAIL}
        smtp_user = "ada"
        smtp_password = "env:P"
        webhook = "https://example.com/hook"
        webhook_secret = "env:S"
        command = ["/bin/page", "--now"]
        silence_after = 86400
    """
    found = alarms(tmp_path, text, P="p", S="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").alarms
    assert ("email", "webhook", "command") == found.ways
    assert (("mail.example.com", 587), Secret("p"), 86400.0) == (found.server, found.smtp_password, found.silence_after)


@pytest.mark.parametrize(
    ("smtp", "server"),
    [
        ('smtp = "h:25"', ("h", 25)),
        ('smtp = "h"\nsmtp_security = "tls"', ("h", 465)),
        ('smtp = "[::1]:2525"\nsmtp_security = "none"', ("::1", 2525)),
    ],
)
def test_mail_server_has_a_port(tmp_path: Path, smtp: str, server: tuple[str, int]) -> None:
    """Its own, or the usual one."""
    text = f'email = ["a@b.example"]\nsender = "c@d.example"\n{smtp}'
    assert server == alarms(tmp_path, text).alarms.server


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('email = ["a@example.com"]', "alarms.sender: missing; email needs sender and smtp"),
        ('email = ["a@example.com"]\nsender = "b@c"', "alarms.smtp: missing"),
        (MAIL.replace("a@", "a@b@"), "alarms.email, sender: 'a@b@example.com' is no address"),
        (MAIL.replace("inbox@", "x\\r\\nBcc: y@"), "is no address; allowed: NAME@HOST"),
        (MAIL.replace("mail.example.com", "h:x"), "alarms.smtp: 'h:x' is no server; allowed: HOST or HOST:PORT"),
        (MAIL + 'smtp_security = "none"', 'alarms.smtp_security: "none" is for a mail server on this machine'),
        (MAIL + 'smtp_user = "u"', "alarms.smtp_user, smtp_password: both or neither"),
        (MAIL + 'smtp_password = "in the clear"', "a secret is named, never written here"),
        ('webhook = "ftp://x"', "alarms.webhook: no address; allowed: https://HOST/PATH"),
        ('webhook = "http://example.com"', "alarms.webhook: http:// is for this machine"),
        ('webhook = "https://example.com"', "alarms.webhook_secret: missing; the message is signed"),
        ("refused_share = 2.0", "alarms.refused_share: 2.0 is out of range; allowed: 0.01 to 1"),
        ("process_gone = 1", "alarms.process_gone: 1.0 is out of range; allowed: 15 to 86400"),
        ('command = "rm -rf"\nshell = true', "alarms.shell: unknown setting; allowed: backlog_age, command"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, text: str, said: str) -> None:
    """File, key, and what is allowed."""
    found = problem(tmp_path, f"[alarms]\n{text}")
    assert found.startswith("inbox.toml: alarms.")
    assert said in found
