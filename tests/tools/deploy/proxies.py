"""A real nginx and a real Caddy on loopback, with what `inbox deploy` prints for the inbox behind them."""

import http.client
import json
import os
import socket
import ssl
import subprocess
from collections.abc import Mapping
from typing import Any, NamedTuple

from tests.support.authority import DOMAIN, Authority
from tests.support.needs import program
from tests.support.place import Place, eventually, free_port

NGINX = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen {http} default_server;
        listen {https} ssl default_server;
        ssl_certificate {folder}/cert.pem;
        ssl_certificate_key {folder}/key.pem;
        server_name other.test;
        return 444;
    }}
    include {folder}/inbox.conf;
}}
"""


class Answer(NamedTuple):
    """What came back through the proxy."""

    status: int
    content: Any
    headers: Mapping[str, str]


class Proxy:
    """A proxy in front of a place; `name` is the command of `inbox deploy`."""

    def __init__(self, name: str, place: Place, authority: Authority, *options: str) -> None:
        self.name = name
        self.folder = place.folder / "-".join([name, *options]).replace("/", "")
        self.folder.mkdir()
        self.http, self.https = free_port(), free_port()
        self.trust = authority.trust()
        cert, key = self.folder / "cert.pem", self.folder / "key.pem"
        authority.issue(cert, key)
        files = ("--cert", str(cert), "--key", str(key))
        ports = ("--http-port", str(self.http), "--https-port", str(self.https))
        self.printed = place.inbox("deploy", name, "--domain", DOMAIN, *files, *ports, *options)
        self.config = self.printed.stdout.replace("body_timeout 30s", "body_timeout 2s").replace(
            "read_body 30s", "read_body 3s"
        )
        self.log = self.folder / "log"
        self._process = self._start()
        eventually(self._listens, f"{name} listens; {self.log.read_text()}")

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "HOME": str(self.folder), "XDG_DATA_HOME": str(self.folder)}
        with self.log.open("wb") as log:
            return subprocess.Popen(getattr(self, f"_{self.name}")(), env=environment, stdout=log, stderr=log)

    def _nginx(self) -> list[str]:
        path = self.folder / "nginx.conf"
        path.write_text(NGINX.format(folder=self.folder, http=self.http, https=self.https))
        (self.folder / "inbox.conf").write_text(self.config)
        return [program("nginx", "nginx-light"), "-c", str(path), "-p", str(self.folder)]

    def _caddy(self) -> list[str]:
        path = self.folder / "Caddyfile"
        path.write_text(self.config.replace("{\n", "{\n\tadmin off\n", 1))  # its port would be everybody's
        return [program("caddy", "caddy"), "run", "--config", str(path)]

    def _listens(self) -> bool:
        assert self._process.poll() is None, self.log.read_text()
        with socket.socket() as http, socket.socket() as https:
            return 0 == http.connect_ex(("127.0.0.1", self.http)) == https.connect_ex(("127.0.0.1", self.https))

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(20)

    def connect(self, source: str = "") -> ssl.SSLSocket:
        """Return a connection to it as a sender makes one, from an address of its own if it has one."""
        made = socket.create_connection(("127.0.0.1", self.https), 60, (source, 0) if source else None)
        return self.trust.wrap_socket(made, server_hostname=DOMAIN)

    def raw(self, raw: bytes) -> Answer:
        """Send bytes over TLS and return the answer."""
        with self.connect() as connection:
            connection.sendall(raw)
            return read(connection)

    def plain(self, raw: bytes) -> Answer:
        """Send bytes without TLS and return the answer."""
        with socket.create_connection(("127.0.0.1", self.http), 20) as connection:
            connection.sendall(raw)
            return read(connection)


def read(connection: socket.socket) -> Answer:
    """Return the answer on a connection."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    text = response.read()
    try:
        content = json.loads(text)
    except ValueError:
        content = text
    return Answer(response.status, content, {name.lower(): value for name, value in response.getheaders()})


def head(method: bytes, path: bytes, *lines: bytes) -> bytes:
    """Return the head of a request to the domain."""
    return b"\r\n".join([method + b" " + path + b" HTTP/1.1", b"Host: " + DOMAIN.encode(), *lines, b"", b""])


def post(path: bytes, body: bytes, *lines: bytes) -> bytes:
    """Return a whole request."""
    return head(b"POST", path, *lines, b"Content-Length: %d" % len(body)) + body
