"""deploy/nginx.conf as it stands, on free ports, with certificates of its own, in front of any portal."""

from __future__ import annotations

import re
import socket
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.running_nginx import RunningNginx
from tests.running_portal import ROOT, free_port

PORTAL, SPACES, CUSTOM = "portal.example.org", "spaces.example.net", "demo.example.com"
PROXY = "127.0.0.2"
"""The address that the portal knows nginx by: another than the tests', who may then be strangers."""


@dataclass
class Front:
    """Where nginx listens.

    Attributes:
        port: with TLS.
        plain_port: without.
        folder: for its configuration, certificates, logs and temporary files.
    """

    folder: Path
    port: int = field(default_factory=free_port)
    plain_port: int = field(default_factory=free_port)

    @property
    def authority(self) -> Path:
        return self.folder / "authority.pem"

    def origin(self, host: str) -> str:
        return f"https://{host}:{self.port}"

    def connect(self, host: str, *, source: str = "127.0.0.1", alpn: list[str] | None = None) -> ssl.SSLSocket:
        """A connection as a browser makes it that looks for `host`; verified as that host's."""
        context = ssl.create_default_context(cafile=str(self.authority))
        context.set_alpn_protocols(alpn or ["http/1.1"])
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=30, source_address=(source, 0))
        return context.wrap_socket(plain, server_hostname=host)

    def begin(
        self,
        method: str,
        host: str,
        path: str,
        *,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
        source: str = "127.0.0.1",
    ) -> HTTPResponse:
        """Ask, and return the answer when its head has come."""
        connection = HTTPConnection(host, self.port)
        connection.sock = self.connect(host, source=source)
        connection.request(method, path, body, {"Connection": "close", **(headers or {})})
        return connection.getresponse()

    def ask(self, method: str, host: str, path: str, **options: object) -> Answer:
        answer = self.begin(method, host, path, **options)  # type: ignore[arg-type]
        with answer:
            return Answer(answer.status, [(k.lower(), v) for k, v in answer.getheaders()], answer.read())

    def get(self, host: str, path: str, **options: object) -> Answer:
        return self.ask("GET", host, path, **options)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def get(self, name: str) -> str | None:
        return next((v for k, v in self.headers if k == name), None)


def nginx(front: Front, upstreams: list[int], data: Path, *, user: str = "root", change: tuple[str, str] | None = None
) -> RunningNginx:  # fmt: skip
    """The configuration of deploy/ with nothing changed but names of folders and ports.

    Args:
        upstreams: ports of the web processes.
        data: PORTICO_DATA.
        user: account of nginx's worker process.
        change: text of nginx-server.conf to be replaced, to see what it is there for.
    """
    folder = front.folder
    write_certificates(folder)
    site, server = (ROOT / "deploy" / "nginx.conf").read_text(), server_conf(data)
    if change is not None:
        assert change[0] in server
        server = server.replace(*change)
    (folder / "server.conf").write_text(f"{server}\nproxy_bind {PROXY};\n")
    servers = "".join(f"server 127.0.0.1:{port};" for port in upstreams)
    for ours, theirs in {
        "snippets/portico.conf": str(folder / "server.conf"),
        "/etc/letsencrypt/live": str(folder / "certificates"),
        "/etc/portico/certificates": str(folder / "custom"),
        "server 127.0.0.1:8000;": servers,
    }.items():
        assert ours in site
        site = site.replace(ours, theirs)
    site = re.sub(r"^ +listen \[::\].*\n", "", site, flags=re.MULTILINE)
    site = re.sub(r"listen 443\b", f"listen 127.0.0.1:{front.port}", site)
    site = re.sub(r"listen 80\b", f"listen 127.0.0.1:{front.plain_port}", site)
    return RunningNginx(folder, site, [front.port, front.plain_port], user=user)


def server_conf(data: Path) -> str:
    """deploy/nginx-server.conf for this data folder."""
    text = (ROOT / "deploy" / "nginx-server.conf").read_text()
    assert "/var/lib/portico" in text
    return text.replace("/var/lib/portico", str(data))


def write_certificates(folder: Path) -> None:
    """An authority, and one certificate each for the portal, the Spaces and a custom domain."""
    key = ec.generate_private_key(ec.SECP256R1())
    authority = _certificate("Test authority", key.public_key(), "Test authority", key, [])
    (folder / "authority.pem").write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    for place, names in {
        f"certificates/{PORTAL}": [PORTAL],
        f"certificates/{SPACES}": [f"*.{SPACES}"],
        f"custom/{CUSTOM}": [CUSTOM],
    }.items():
        own = ec.generate_private_key(ec.SECP256R1())
        leaf = _certificate(names[0], own.public_key(), "Test authority", key, names)
        (folder / place).mkdir(parents=True)
        (folder / place / "fullchain.pem").write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
        private = own.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (folder / place / "privkey.pem").write_bytes(private)


def _certificate(
    subject: str, key: ec.EllipticCurvePublicKey, issuer: str, signer: ec.EllipticCurvePrivateKey, names: list[str]
) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=not names, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), critical=False)
    return builder.sign(signer, hashes.SHA256())
