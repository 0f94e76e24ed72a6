"""A certificate authority of the tests' own, and what it issues for 127.0.0.1 and a domain."""

import datetime
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DOMAIN = "hooks.test"


class Authority:
    """Issues certificates into files; `trust` is what a client of theirs believes."""

    def __init__(self, folder: Path) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test authority")])
        self.file = folder / "authority.pem"
        made = self._build(self._name, self._key.public_key(), x509.BasicConstraints(ca=True, path_length=0))
        self.file.write_bytes(made.public_bytes(serialization.Encoding.PEM))

    def issue(self, cert: Path, key: Path) -> int:
        """Put a new certificate and its key in place of what is there, and return its serial number."""
        pair = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, DOMAIN)])
        made = self._build(name, pair.public_key(), x509.BasicConstraints(ca=False, path_length=None))
        text = pair.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        replace(cert, made.public_bytes(serialization.Encoding.PEM))
        replace(key, text)
        return made.serial_number

    def trust(self, **options: ssl.TLSVersion) -> ssl.SSLContext:
        """Return the settings of a client; options such as maximum_version are set on it."""
        context = ssl.create_default_context(cafile=str(self.file))
        for name, value in options.items():
            setattr(context, name, value)
        return context

    def _build(
        self, name: x509.Name, public: ec.EllipticCurvePublicKey, constraints: x509.BasicConstraints
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        names = [x509.DNSName(DOMAIN), x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        made = x509.CertificateBuilder(
            self._name,
            name,
            public,
            x509.random_serial_number(),
            now - datetime.timedelta(1),
            now + datetime.timedelta(9),
        )
        return (
            made.add_extension(constraints, critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self._key, hashes.SHA256())
        )


def replace(path: Path, content: bytes) -> None:
    """Write a file as certbot does: a new one takes the place of the old one."""
    beside = path.with_suffix(".new")
    beside.write_bytes(content)
    beside.chmod(0o600)
    beside.replace(path)
