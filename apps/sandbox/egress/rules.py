"""What workers may reach, as nftables rules for a node's router."""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import subprocess
from collections.abc import Iterable

UPLINK = "up0"
WORKERS = "w"
"""What the names of workers' devices begin with, in the router."""
DNS = "100.127.255.3"
"""Where workers ask for names. Also in `apps/sandbox/etc/resolv.conf`."""
CONNECTIONS = 1024
"""How many one worker may have at a time."""
REFUSED_4 = (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
    "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4",
)  # fmt: skip
"""Networks that are not the world: private, shared, link-local (cloud metadata), of tests, multicast, reserved."""
REJECT = "reject with icmpx admin-prohibited"


def for_router() -> str:
    return f"""
table inet portico {{
  set refused4 {{ type ipv4_addr; flags interval; elements = {{ {", ".join(REFUSED_4)} }} }}
  set host4 {{ type ipv4_addr; }}
  set connections4 {{ type ipv4_addr; size 65535; flags dynamic; }}
  chain spoofed {{
    type filter hook prerouting priority raw; policy accept;
    iifname "{WORKERS}*" fib saddr . iif oif missing drop
  }}
  chain input {{
    type filter hook input priority filter; policy drop;
    iifname "{WORKERS}*" {REJECT}
  }}
  chain forward {{
    type filter hook forward priority filter; policy drop;
    iifname "{UPLINK}" ct state established,related accept
    iifname != "{WORKERS}*" drop
    oifname != "{UPLINK}" {REJECT}
    jump world
  }}
  chain world {{
    ct state established,related accept
    ct state new add @connections4 {{ ip saddr ct count over {CONNECTIONS} }} {REJECT}
    ip daddr {DNS} meta l4proto {{ tcp, udp }} th dport 53 accept
    ip daddr @refused4 {REJECT}
    ip daddr @host4 {REJECT}
    meta nfproto ipv4 accept
    {REJECT}
  }}
  chain translate {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname "{UPLINK}" masquerade
  }}
}}
"""


def for_host(addresses: Iterable[str]) -> str:
    """Replaces the host's own addresses in the table."""
    four = sorted(a for a in addresses if ipaddress.ip_address(a).version == 4)
    added = f"add element inet portico host4 {{ {', '.join(four)} }}\n" if four else ""
    return f"flush set inet portico host4\n{added}"


def load(rules: str) -> None:
    """Give rules to the kernel, for the network namespace that this thread is in.

    Raises:
        OSError: nft is missing or refuses; nothing has changed.
    """
    program = find("nft")
    if program is None:
        raise OSError("nft is missing; install the Debian package nftables")
    done = subprocess.run([program, "-f", "-"], input=rules, capture_output=True, text=True, check=False, env={})
    if done.returncode != 0:
        raise OSError(f"nftables refuses its rules: {done.stderr.strip().partition(chr(10))[0]}")


def addresses_of_host() -> set[str]:
    """Every address of this machine, of the network namespace that this thread is in.

    Raises:
        OSError: they cannot be listed.
    """
    program = find("ip")
    if program is None:
        raise OSError("ip is missing; install the Debian package iproute2")
    done = subprocess.run([program, "-json", "address"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"this machine's addresses cannot be listed: {done.stderr.strip()}")
    return {a["local"] for device in json.loads(done.stdout) for a in device["addr_info"] if "local" in a}


def find(program: str) -> str | None:
    """Where a program of the system's administrator is; its folder is often not in an ordinary user's PATH."""
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
