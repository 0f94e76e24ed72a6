"""What `inbox deploy` prints, and what it says against settings that do not fit."""

import re
import subprocess
from pathlib import Path

import pytest

from inbox.core.config.settings import ServerSettings, load
from inbox.tools.deploy import proxies, systemd
from tests.cli.conftest import Cli
from tests.support.needs import program

SETTINGS = """
[server]
{server}
[worker]
shutdown_timeout = 20

[sources.small]
provider = "unsigned"
max_body = 1000

[sources.wide]
provider = "unsigned"
max_body = 5000000
"""
FITS = "trusted_proxies = 1\nstore_timeout = 30"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings that fit, in the working directory."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, FITS)
    return tmp_path


def write(folder: Path, server: str) -> None:
    (folder / "inbox.toml").write_text(SETTINGS.format(server=server))


@pytest.mark.parametrize("name", ["nginx", "caddy"])
def test_limits_come_from_the_settings(folder: Path, cli: Cli, name: str) -> None:
    """The largest body of all sources, and more time than the receiver takes for its turn and for the store."""
    result = cli("deploy", name, "--domain", "Hooks.Example.com")
    assert ("", True) == (result.stderr, "5000000" in result.stdout)
    times = [int(seconds) for seconds in re.findall(r"(?:read_timeout|header_timeout) (\d+)s;?\n", result.stdout)]
    assert [70] == sorted({time for time in times if time > 10})
    assert "Hooks" not in result.stdout
    assert "hooks.example.com" in result.stdout


def test_nginx_uses_certbots_files_unless_told_otherwise(folder: Path, cli: Cli) -> None:
    """And Caddy gets its own certificate."""
    assert "/etc/letsencrypt/live/a.test/privkey.pem;" in cli("deploy", "nginx", "--domain", "a.test").stdout
    assert "\ttls " not in cli("deploy", "caddy", "--domain", "a.test").stdout
    named = cli("deploy", "caddy", "--domain", "a.test", "--cert", "/c.pem", "--key", "/k.pem").stdout
    assert "\ttls /c.pem /k.pem\n" in named


@pytest.mark.parametrize(
    ("version", "expected"),
    [("2.6.2", "buffer_requests"), ("v2.6.3 h1:x", "request_buffers 5000000"), ("2.10", "request_buffers 5000000")],
)
def test_caddy_has_two_names_for_buffering(folder: Path, cli: Cli, version: str, expected: str) -> None:
    """Debian's Caddy knows the older one only."""
    printed = cli("deploy", "caddy", "--domain", "a.test", "--caddy-version", version).stdout
    found = [line.strip() for line in printed.splitlines() if "buffer" in line and "size" not in line]
    assert [expected] == found


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ("", ["server.trusted_proxies: 0 "]),
        ("trusted_proxies = 2", ["server.trusted_proxies: 2 "]),
        ('trusted_proxies = 1\nhost = "0.0.0.0"', ["server.host: 0.0.0.0 "]),
        ('trusted_proxies = 1\ntls_cert = "c"\ntls_key = "k"', ["server.tls_cert, server.tls_key: "]),
        ("trusted_proxies = 1\nport = 443", ["server.port: 443 "]),
        ('port = 80\nhost = "::"', ["server.trusted_proxies: 0 ", "server.host: :: ", "server.port: 80 "]),
    ],
)
@pytest.mark.parametrize("name", ["nginx", "caddy"])
def test_what_does_not_fit_behind_a_proxy_is_told(
    folder: Path, cli: Cli, name: str, server: str, expected: list[str]
) -> None:
    """A line each on stderr, with the setting to change; the configuration is printed all the same."""
    write(folder, server)
    result = cli("deploy", name, "--domain", "a.test")
    lines = result.stderr.splitlines()
    assert expected == [item for item, line in zip(expected, lines, strict=True) if f"inbox.toml: {item}" in line]
    assert "a.test" in result.stdout


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ("", ""),
        ("trusted_proxies = 1", ""),
        ('host = "0.0.0.0"', "server.host: 0.0.0.0 without TLS"),
        ('tls_cert = "c"\ntls_key = "k"\nhost = "0.0.0.0"', ""),
        ('tls_cert = "c"\ntls_key = "k"\ntrusted_proxies = 1', "server.trusted_proxies: 1 believes"),
    ],
)
def test_what_does_not_fit_a_service_is_told(folder: Path, cli: Cli, server: str, expected: str) -> None:
    """A receiver that ends TLS has nobody in front whom it could trust."""
    write(folder, server)
    said = cli("deploy", "systemd").stderr
    assert (bool(expected), True) == (bool(said), expected in said)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nginx"], "Missing option '--domain'"),
        (["nginx", "--domain", "a.test;}"], "is not a host name"),
        (["caddy", "--domain", "a b"], "is not a host name"),
        (["nginx", "--domain", "a.test", "--cert", "/c"], "--cert and --key: both or neither"),
        (["nginx", "--domain", "a.test", "--cert", "/c d", "--key", "/k"], "allowed are letters"),
        (["caddy", "--domain", "a.test", "--public", "/x"], "'/x' is not one of"),
        (["systemd", "--user", "a\nb"], "is not the name of a user"),
    ],
)
def test_wrong_usage_is_a_sentence(folder: Path, cli: Cli, arguments: list[str], expected: str) -> None:
    """Exit code 2, and nothing on stdout that could be taken for configuration."""
    result = cli("deploy", *arguments, code=2)
    assert ("", True) == (result.stdout, expected in result.stderr)


def test_a_folder_that_needs_quotes_is_an_error(
    folder: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """systemd would read a path with a space as two."""
    odd = tmp_path / "two words"
    odd.mkdir()
    write(odd, FITS)
    monkeypatch.chdir(odd)
    assert "needs quotes" in cli("deploy", "systemd", code=1).stderr


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", "127.0.0.1:8000"), ("0.0.0.0", "127.0.0.1:8000"), ("::1", "[::1]:8000"), ("::", "[::1]:8000")],
)
def test_where_the_proxy_finds_the_receiver(host: str, expected: str) -> None:
    """On loopback, also if it listens everywhere."""
    assert expected == proxies.upstream(ServerSettings(host=host))


@pytest.mark.parametrize("name", ["nginx", "caddy"])
def test_more_goes_public_if_asked_for(folder: Path, cli: Cli, name: str) -> None:
    """Nothing but events and liveness by itself."""
    plain = cli("deploy", name, "--domain", "a.test").stdout
    more = cli("deploy", name, "--domain", "a.test", "--public", "/readyz", "--public", "/metrics").stdout
    assert (False, True, True) == ("/readyz" in plain, "/readyz" in more, "/metrics" in more)


def test_the_units_are_what_systemd_understands(folder: Path, cli: Cli) -> None:
    """`systemd-analyze verify` has nothing to say, and finds the exposure low."""
    analyze = program("systemd-analyze", "systemd")
    files = [folder / "inbox.service", folder / "inbox.socket"]
    files[0].write_text(cli("deploy", "systemd").stdout)
    files[1].write_text(cli("deploy", "systemd", "--socket").stdout)
    done = subprocess.run([analyze, "verify", "--man=no", *files], capture_output=True, text=True, timeout=60)
    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)
    threshold = ["--offline=true", "--threshold=15", "--no-pager"]  # 1.5 of 10
    done = subprocess.run([analyze, "security", *threshold, files[0]], capture_output=True, text=True, timeout=60)
    assert 0 == done.returncode, done.stdout


def test_a_service_may_write_its_data_and_not_its_code(folder: Path) -> None:
    """Database, queue, data keys and working folder; but handlers, schemas and settings stay as they are."""
    (folder / "inbox.toml").write_text(
        '[inbox]\ndatabase = "sqlite:////var/lib/inbox/inbox.db"\nkey_file = "/var/lib/keys/keys.db"\n'
        'seal_key = ["env:SEAL"]\n[server]\nport = 443\n'
    )
    python = Path("/opt/inbox/bin/python")
    text = systemd.service(load(folder / "inbox.toml", {"SEAL": "11" * 32}), python, Path("/usr"), user="hooks")
    assert ["/var/lib/inbox", str(folder), "/var/lib/keys"] == re.findall(r"^ReadWritePaths=(.*)$", text, re.MULTILINE)
    kept = [str(folder / name) for name in ("inbox.toml", "handlers", "schemas")]
    assert kept == re.findall(r"^ReadOnlyPaths=(.*)$", text, re.MULTILINE)
    assert "\nCapabilityBoundingSet=CAP_NET_BIND_SERVICE\n" in text
    assert "\nUser=hooks\n" in text
    assert "\nProtectHome=yes\n" in text


def test_a_service_is_given_the_time_that_stopping_takes(folder: Path) -> None:
    """The receiver and then the worker, each shutdown_timeout and what the supervisor adds."""
    settings = load(folder / "inbox.toml", {})
    assert systemd.stop_in(settings) > 2 * (settings.worker.shutdown_timeout + 5)
    text = systemd.service(settings, Path("/home/owner/x/python"), Path("/usr"), user="inbox")
    assert f"\nTimeoutStopSec={systemd.stop_in(settings)}\n" in text
    assert f"\nLimitNOFILE={settings.server.max_connections + 256}:524288\n" in text
    assert "\nProtectHome=read-only\n" in text
