"""A package index on this machine's loopback, with wheels made for the test."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def wheel(name: str, files: Mapping[str, str | bytes], requires: tuple[str, ...] = (), version: str = "1.0") -> bytes:
    """A wheel with `files`, by their path in site-packages."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {other}\n" for other in requires)
    contents = {path: data.encode() if isinstance(data, str) else data for path, data in files.items()}
    contents[f"{info}/METADATA"] = metadata.encode()
    contents[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    rows = [f"{path},sha256={_digest(data)},{len(data)}" for path, data in contents.items()]
    contents[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,"]).encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in contents.items():
            archive.writestr(path, data)
    return out.getvalue()


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


@contextlib.contextmanager
def serving(packages: Mapping[str, bytes]) -> Iterator[tuple[str, list[str]]]:
    """Serve wheels by the name of their package, `name-version` unless it is 1.0. Yields the index's address and the
    paths that were asked for."""
    asked: list[str] = []
    wheels = {f"{key if '-' in key else f'{key}-1.0'}-py3-none-any.whl": data for key, data in packages.items()}

    class Index(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            name = self.path.strip("/").rpartition("/")[2]
            found = {file: data for file, data in wheels.items() if file.startswith(f"{name}-")}
            if name in wheels:
                self._send(wheels[name], "application/octet-stream")
            elif found:
                digests = {file: hashlib.sha256(data).hexdigest() for file, data in found.items()}
                links = (f'<a href="/files/{file}#sha256={digest}">{file}</a>' for file, digest in digests.items())
                self._send("\n".join(links).encode(), "text/html")
            else:
                self.send_error(404)

        def _send(self, data: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        do_HEAD = do_GET

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Index) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/simple", asked
        finally:
            server.shutdown()
            thread.join()
