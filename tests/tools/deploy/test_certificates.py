"""TLS ended by the receiver: certificates are replaced while requests come, and nothing is dropped."""

import socket
import ssl
import threading
from collections.abc import Iterator

import pytest
from cryptography import x509

from tests.support.authority import Authority, replace
from tests.support.place import Place, eventually

SOURCES = '[sources.open]\nprovider = "unsigned"\nevent_id = ["json:/id"]\n'


class Sender(threading.Thread):
    """Sends one event after the other over TLS, on a new connection each, or on one for as long as that stays open."""

    def __init__(self, port: int, name: str, trust: ssl.SSLContext, *, keep: bool) -> None:
        super().__init__(name=name, daemon=True)
        self.port, self.trust, self.keep = port, trust, keep
        self.acknowledged: list[str] = []
        self.dropped: list[str] = []
        self.serials: list[int] = []
        self.ended = threading.Event()
        self.number = 0

    def run(self) -> None:
        while not self.ended.is_set():
            try:
                with connect(self.port, self.trust) as connection:
                    self.serials.append(serial(connection))
                    while self._exchange(connection) and self.keep and not self.ended.is_set():
                        self.ended.wait(0.02)
            except (OSError, EOFError) as error:
                self.dropped.append(f"{self.name}-{self.number}: {error!r}")
            self.ended.wait(0.02)

    def _exchange(self, connection: ssl.SSLSocket) -> bool:
        """Send an event, read its answer, and return whether the connection stays open."""
        self.number += 1
        key = f"{self.name}-{self.number}"
        answer = post(connection, b'{"id": "%s"}' % key.encode())
        assert answer.startswith(b"HTTP/1.1 200 "), answer
        self.acknowledged.append(key)
        return b"connection: close" not in answer.lower()


def connect(port: int, trust: ssl.SSLContext) -> ssl.SSLSocket:
    return trust.wrap_socket(socket.create_connection(("127.0.0.1", port), 20), server_hostname="localhost")


def serial(connection: ssl.SSLSocket) -> int:
    """Return the serial number of the certificate that was shown."""
    return x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b"").serial_number


def post(connection: ssl.SSLSocket, body: bytes) -> bytes:
    connection.sendall(b"POST /in/open HTTP/1.1\r\nHost: inbox\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    answer = b""
    while b"}" not in answer:
        part = connection.recv(65536)
        if not part:
            raise EOFError("closed without an answer")
        answer += part
    return answer


@pytest.fixture
def authority(place: Place) -> Iterator[Authority]:
    """An authority, and a receiver with its first certificate."""
    made = Authority(place.folder)
    place.first = made.issue(place.folder / "cert.pem", place.folder / "key.pem")  # type: ignore[attr-defined]
    place.configure(server='tls_cert = "cert.pem"\ntls_key = "key.pem"', sources=SOURCES)
    place.start("serve")
    return made


def shown(place: Place, authority: Authority) -> int:
    with connect(place.port, authority.trust()) as connection:
        return serial(connection)


def test_a_new_certificate_is_used_without_a_stop_and_a_broken_one_is_not(place: Place, authority: Authority) -> None:
    """While events are sent: the next certificate, one whose key is another's, half a certificate, and a good one.

    TLS 1.2 is taken, as many senders have nothing newer; less is not.
    """
    with connect(place.port, authority.trust(maximum_version=ssl.TLSVersion.TLSv1_2)) as connection:
        assert "TLSv1.2" == connection.version()
    with pytest.raises(ssl.SSLError), pytest.warns(DeprecationWarning, match="TLS"):
        connect(place.port, authority.trust(maximum_version=ssl.TLSVersion.TLSv1_1))
    senders = [Sender(place.port, f"s{n}", authority.trust(), keep=bool(n % 2)) for n in range(4)]
    for sender in senders:
        sender.start()
    cert, key = place.folder / "cert.pem", place.folder / "key.pem"
    serials = [place.first]  # type: ignore[attr-defined]
    eventually(lambda: all(sender.acknowledged for sender in senders), "all are sending")

    serials.append(authority.issue(cert, key))
    eventually(lambda: "receiver.reloaded" in place.log_text(), "the certificate is reloaded")
    assert serials[1] == shown(place, authority)

    good = key.read_bytes()
    authority.issue(place.folder / "other.pem", key)
    eventually(lambda: place.log_text().count("receiver.not_reloaded") == 1, "the wrong key is noticed")
    assert f"{cert} and {key} do not go together" in place.log_text()
    replace(key, good)
    replace(cert, cert.read_bytes()[:200])
    eventually(lambda: place.log_text().count("receiver.not_reloaded") == 2, "half a certificate is noticed")
    assert serials[1] == shown(place, authority)

    serials.append(authority.issue(cert, key))
    eventually(lambda: place.log_text().count("event=receiver.reloaded") == 2, "the next one is reloaded")
    assert serials[2] == shown(place, authority)
    for sender in senders:
        sender.ended.set()
        sender.join(30)
    assert [] == [drop for sender in senders for drop in sender.dropped]
    assert [] == [sender.name for sender in senders if list(dict.fromkeys(sender.serials)) != serials]
    stored = {row["key"] for row in place.json("events", "--limit", "100000")}
    assert {key for sender in senders for key in sender.acknowledged} == stored
    assert 0 == place.stop()
