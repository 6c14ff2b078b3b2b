"""Any program that listens on $PORT is a Space: a framework of your choice goes into requirements.txt."""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class Greeter(BaseHTTPRequestHandler):
    def do_GET(self):
        address = urlsplit(self.path)
        name = parse_qs(address.query).get("name", ["you"])[0]
        body = json.dumps({"greeting": f"Hello {name}", "path": address.path}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Greeter).serve_forever()
