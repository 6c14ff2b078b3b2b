"""A world for workers to reach: network namespaces with public addresses, a web server and a name server.

    "world": 203.0.113.5, 203.0.113.9 --veth-- "host": 93.184.0.2, 10.20.30.1, its own loopback; the agent is in here

Nothing of this machine's own network is changed, and nothing leaves it. For root.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

WORLD, OTHER, NAME_SERVER = "203.0.113.5", "203.0.113.6", "203.0.113.53"
HOST, HOST_PRIVATE = "93.184.0.2", "10.20.30.1"
NAME = "demo.example.org"
PORT = 8080

SERVE = """
import http.server, resource, socket, struct, sys, threading
addresses, port, names = sys.argv[1].split(","), int(sys.argv[2]), sys.argv[3]

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = self.client_address[0].encode() if self.path == "/" else bytes(int(self.path[1:]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass

def answer(query):
    end, labels = 12, []
    while query[end]:
        labels.append(query[end + 1 : end + 1 + query[end]])
        end += 1 + query[end]
    known, kind = b".".join(labels) == b"demo.example.org", query[end + 1 : end + 3]
    found = known and kind == b"\\0\\1"
    head = query[:2] + struct.pack("!HHHHH", 0x8180 if known else 0x8183, 1, found, 0, 0)
    record = b"\\xc0\\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + socket.inet_aton(addresses[0]) if found else b""
    return head + query[12 : end + 5] + record

def name_server(address):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind((address, 53))
        while True:
            query, who = s.recvfrom(512)
            s.sendto(answer(query), who)

resource.setrlimit(resource.RLIMIT_NOFILE, (8192, 8192))
http.server.ThreadingHTTPServer.request_queue_size = 1024
servers = [http.server.ThreadingHTTPServer((address, port), Handler) for address in addresses]
for server in servers:
    threading.Thread(target=server.serve_forever, daemon=True).start()
if names:
    threading.Thread(target=name_server, args=(names,), daemon=True).start()
print("ready", flush=True)
threading.Event().wait()
"""
"""`SERVE ADDRESSES PORT NAME_SERVER`: HTTP on each address (`/` says who asks, `/N` is N bytes), and DNS on one."""


@dataclass(frozen=True)
class World:
    """Names of the two namespaces, and a file for the host's /etc/resolv.conf."""

    world: str
    host: str
    resolv: Path

    def on_host(self, command: list[str], *, routes: bool = True) -> list[str]:
        """A command, to be run in the host's place; without `routes` on a machine that has no way out."""
        mount = 'mount --bind "$0" "$(readlink -f /etc/resolv.conf)" && exec "$@"'
        enter = ["nsenter", f"--net=/run/netns/{self.host if routes else self.world}", "unshare", "-m"]
        return [*enter, "sh", "-c", mount, str(self.resolv), *command]


@contextlib.contextmanager
def a_world() -> Iterator[World]:
    """Make it, and take it away in the end."""
    number = os.getpid()
    world, host = f"pw{number}", f"ph{number}"
    servers: list[subprocess.Popen[str]] = []
    with tempfile.TemporaryDirectory() as folder:
        resolv = Path(folder, "resolv.conf")
        resolv.write_text(f"nameserver {NAME_SERVER}\n")
        resolv.chmod(0o644)
        try:
            for name in (world, host):
                ip(f"netns add {name}")
                ip(f"-n {name} link set lo up")
            ip(f"link add eth0 netns {host} type veth peer name eth0 netns {world}")
            for name, addresses in {
                world: ("93.184.0.1/16", f"{WORLD}/24", f"{OTHER}/24", f"{NAME_SERVER}/24", "169.254.169.254/32",
                        "10.99.0.1/32", "192.168.99.1/32", "172.16.9.1/32", "100.100.0.1/32"),
                host: (f"{HOST}/16", f"{HOST_PRIVATE}/24"),
            }.items():  # fmt: skip
                for address in addresses:
                    ip(f"-n {name} addr add {address} dev eth0")
                ip(f"-n {name} link set eth0 up")
            ip(f"-n {host} route add default via 93.184.0.1")
            everywhere = f"{WORLD},{OTHER},169.254.169.254,10.99.0.1,192.168.99.1,172.16.9.1,100.100.0.1"
            servers.append(serve(world, everywhere, NAME_SERVER))
            servers.append(serve(host, f"127.0.0.1,{HOST},{HOST_PRIVATE}", ""))
            yield World(world, host, resolv)
        finally:
            for server in servers:
                server.kill()
                server.wait()
            for name in (world, host):
                subprocess.run(["ip", "netns", "del", name], check=False)


def ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True)


def serve(namespace: str, addresses: str, names: str) -> subprocess.Popen[str]:
    command = ["ip", "netns", "exec", namespace, sys.executable, "-c", SERVE, addresses, str(PORT), names]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process
