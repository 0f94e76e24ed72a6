"""`inbox send`: requests signed as the sender signs them, to a real receiver, also over TLS."""

import json
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from tests.acceptance.test_end_to_end import SEED_SENDERS
from tests.cli.conftest import Cli
from tests.support.place import Place, free_port

BODY = {"id": "one", "type": "t", "timestamp": "2026-01-01T00:00:00Z", "data": {}}


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A receiver on plain HTTP that all these tests share."""
    place = Place(tmp_path_factory.mktemp("receiver"))
    place.configure()
    place.start("serve")
    yield place
    place.close()


@pytest.fixture
def here(receiver: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """The same, its folder being the working directory."""
    monkeypatch.chdir(receiver.folder)
    return receiver


def key_pair(folder: Path) -> None:
    """Write a certificate for 127.0.0.1 that signs itself, its key in three forms, and somebody else's key."""
    key, other = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "inbox")]), datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(1), now + timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    for file, whose, form, password in (
        ("pkcs8.pem", key, PrivateFormat.PKCS8, NoEncryption()),
        ("sec1.pem", key, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
        ("locked.pem", key, PrivateFormat.PKCS8, BestAvailableEncryption(b"passphrase")),
        ("other.pem", other, PrivateFormat.PKCS8, NoEncryption()),
    ):
        (folder / file).write_bytes(whose.private_bytes(Encoding.PEM, form, password))


@pytest.mark.parametrize("source", SEED_SENDERS)
def test_every_seed_sender_is_accepted(source: str, here: Place, cli: Cli) -> None:
    """A fresh sample, signed, to this inbox's own address."""
    ((answer),) = cli.json("send", source)
    assert (200, "accepted") == (answer["http_status"], answer["answer"]["status"])
    assert source == here.event(answer["answer"]["id"])["source"]


def test_samples_are_fresh_each_time(here: Place, cli: Cli) -> None:
    """--times sends several events, not copies."""
    answers = cli.json("send", "roomz", "--times", "3")
    assert ["accepted"] * 3 == [answer["answer"]["status"] for answer in answers]
    assert 3 == len({answer["answer"]["id"] for answer in answers})


def test_a_file_is_sent_as_it_is(here: Place, cli: Cli) -> None:
    """Byte for byte, and so the second time it is a copy."""
    body = json.dumps(BODY, indent=3).encode() + b"\r\n"
    (here.folder / "body.json").write_bytes(body)
    lines = cli("send", "roomz", "--data", "body.json", "--times", "2").stdout.splitlines()
    first, second = (json.loads(line.removeprefix("200 ")) for line in lines)
    assert ("accepted", "duplicate", first["id"]) == (first["status"], second["status"], second["id"])
    assert body == cli("show", str(first["id"]), "--raw").stdout_bytes


def test_the_body_can_come_from_standard_input(here: Place, cli: Cli) -> None:
    """`--data -`."""
    assert '"accepted"' in cli("send", "roomz", "--data", "-", text=json.dumps({**BODY, "id": "stdin"})).stdout


def test_the_type_can_be_chosen(here: Place, cli: Cli) -> None:
    """It is where this sender puts it."""
    (answer,) = cli.json("send", "roomz", "--type", "desk.released")
    assert "desk.released" == here.event(answer["answer"]["id"])["type"]


def test_another_address_can_be_named(here: Place, cli: Cli) -> None:
    """--to; a slash at the end does no harm."""
    assert '"accepted"' in cli("send", "roomz", "--to", f"http://localhost:{here.port}/in/roomz/").stdout


def test_what_is_refused_is_exit_code_1(here: Place, cli: Cli) -> None:
    """The answer is printed all the same."""
    wrong = f"http://127.0.0.1:{here.port}/in/lemlist"
    assert '401 {"error": "not_authentic"}\n' == cli("send", "roomz", "--to", wrong, code=1).stdout
    nowhere = f"http://127.0.0.1:{here.port}/elsewhere"
    result = cli("send", "roomz", "--to", nowhere, "--json", code=1)
    assert [{"http_status": 404, "answer": {"error": "not_found"}}] == json.loads(result.stdout)


def test_nobody_listening_is_a_sentence(here: Place, cli: Cli) -> None:
    """Exit code 1 and what to do."""
    url = f"http://127.0.0.1:{free_port()}/in/roomz"
    message = cli("send", "roomz", "--to", url, code=1).stderr
    assert message.startswith(f"inbox: {url} does not answer: ")
    assert message.endswith("is `inbox run` running?\n")


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH_9.6\r\n"])
def test_a_server_that_does_not_speak_http_is_a_sentence(answer: bytes, here: Place, cli: Cli) -> None:
    """Something else listens there, or hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        result = cli("send", "roomz", "--to", f"http://127.0.0.1:{server.getsockname()[1]}/", code=1)
        thread.join()
    assert ("does not speak HTTP" if answer else "does not answer") in result.stderr


@pytest.mark.parametrize(
    "url", ["localhost:8000/in/x", "ftp://localhost/", "http://", "http://h:99999/", "http://[::1"]
)
def test_what_is_no_address_is_a_sentence(url: str, here: Place, cli: Cli) -> None:
    """Exit code 1."""
    assert f"inbox: {url} is not an http or https address\n" == cli("send", "roomz", "--to", url, code=1).stderr


def test_unknown_source_and_wrong_usage(here: Place, cli: Cli) -> None:
    """1 for what is not there, with what is; 2 for what cannot be meant."""
    assert "no source is called rooms; configured: roomz, roomle" in cli("send", "rooms", code=1).stderr
    for arguments in (["send"], ["send", "roomz", "--times", "0"], ["send", "roomz", "--data", "gone.json"]):
        assert "Error: " in cli(*arguments, code=2).stderr


def test_tls_is_checked_unless_told_otherwise(place: Place, monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
    """The receiver serves tls_cert; a certificate that nobody vouches for is taken with --insecure only."""
    key_pair(place.folder)
    place.configure(server='tls_cert = "cert.pem"\ntls_key = "pkcs8.pem"')
    place.start("serve")
    monkeypatch.chdir(place.folder)
    message = cli("send", "roomz", code=1).stderr
    assert "its certificate is not trusted: self-signed certificate; --insecure does not check it\n" in message
    assert [] == cli.json("events")
    assert '200 {"status": "accepted", "id": 1}\n' == cli("send", "roomz", "--insecure").stdout
    plain = f"http://127.0.0.1:{place.port}/in/roomz"
    assert "is it https instead of http?" in cli("send", "roomz", "--to", plain, code=1).stderr


def test_tls_to_a_plain_receiver_is_a_sentence(here: Place, cli: Cli) -> None:
    """The other way round."""
    url = f"https://127.0.0.1:{here.port}/in/roomz"
    assert "is it http instead of https?" in cli("send", "roomz", "--to", url, code=1).stderr


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("pkcs8.pem", ""),
        ("sec1.pem", ""),
        ("locked.pem", "do not go together; allowed: PEM, with the chain, and its key without a passphrase"),
        ("other.pem", "do not go together"),
        ("inbox.toml", "do not go together"),
        ("gone.pem", "inbox.toml: server.tls_key: "),
    ],
)
def test_a_key_that_cannot_be_used_is_found_at_start(
    key: str, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    """One line and no prompt for a passphrase, from `check`, `serve` and `run` alike."""
    monkeypatch.chdir(tmp_path)
    cli("init")
    key_pair(tmp_path)
    settings = (tmp_path / "inbox.toml").read_text()
    settings = settings.replace("[server]", f'[server]\ntls_cert = "cert.pem"\ntls_key = "{key}"')
    (tmp_path / "inbox.toml").write_text(settings)
    if not wrong:
        assert "nothing is wrong" in cli("check").stdout
        return
    for command in ("check", "serve", "run"):
        message = cli(command, code=1).stderr.splitlines()
        assert wrong in message[-1], command
        assert f"{tmp_path / key}" in message[-1]


def test_a_port_that_is_taken_is_found_at_start(here: Place, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two receivers on one port would share the requests: the second one does not start, `check` does not mind."""
    for command in ("serve", "run"):
        wanted = f"inbox: inbox.toml: server.port: 127.0.0.1:{here.port} is in use by another process\n"
        assert wanted == cli(command, code=1).stderr
    assert "nothing is wrong" in cli("check").stdout
