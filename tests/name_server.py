"""A small name server on loopback, over UDP, whose TXT records a test writes."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import dns.flags
import dns.message
import dns.rcode
import dns.rrset


@dataclass
class NameServer:
    """`txt[name]` are the records of a name; while `broken` it answers SERVFAIL."""

    address: str
    txt: dict[str, list[str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    broken: bool = False

    def answer(self, data: bytes) -> bytes:
        query = dns.message.from_wire(data)
        name = query.question[0].name.to_text(omit_final_dot=True)
        self.asked.append(name)
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA | dns.flags.AA
        if self.broken:
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif records := self.txt.get(name):
            quoted = [" ".join(f'"{r[i : i + 200]}"' for i in range(0, len(r), 200)) for r in records]
            answer.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "TXT", *quoted))
        else:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        return answer.to_wire()


@contextlib.contextmanager
def a_name_server() -> Iterator[NameServer]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        s.settimeout(0.1)
        server = NameServer(f"127.0.0.1:{s.getsockname()[1]}")
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                with contextlib.suppress(TimeoutError):
                    data, who = s.recvfrom(4096)
                    s.sendto(server.answer(data), who)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server
        finally:
            ended.set()
            thread.join()
