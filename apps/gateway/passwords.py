"""A Space's password: taken from the gateway's own page, and checked without holding up anybody else.

A hash takes tenths of a second of a processor on purpose. So they are computed in two threads of their own, few wait
for them, and attempts are counted in Django's cache before they are looked at: however many are sent at once, no more
than the limit are.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs

from django.contrib.auth.hashers import check_password

from apps.accounts.addresses import network
from apps.accounts.attempts import count, take_back
from apps.gateway.bodies import Body
from apps.gateway.requests import QUERY, Request
from apps.gateway.routes import Route, lock_of
from apps.runtime.database import in_database
from apps.spaces.models import Space

PERIOD_SECONDS = 300
PER_ADDRESS, PER_SPACE = 10, 300
"""Wrong passwords in a period, from one address for one Space, and from anywhere for one Space."""
MAX_FORM_BYTES = 8 * 1024
FORM_SECONDS = 10.0
MAX_WAITING = 32
_executor = ThreadPoolExecutor(2, thread_name_prefix="passwords")


class Refused(Exception):
    """The password does not open the Space; the text says why.

    Attributes:
        wait: seconds until another may be sent, None when that is now.
    """

    def __init__(self, why: str, wait: int | None = None) -> None:
        super().__init__(why)
        self.wait = wait


async def read_body(body: Body) -> bytes:
    """The body of a small form.

    Raises:
        Refused: it is too large, or takes too long to come.
    """
    data = b""
    try:
        async with asyncio.timeout(FORM_SECONDS):
            async for chunk in body.chunks():
                data += chunk
                if len(data) > MAX_FORM_BYTES:
                    raise Refused("That was too long for a password.")
    except TimeoutError:
        raise Refused("The password took too long to arrive.") from None
    return data


def read_form(request: Request, data: bytes) -> tuple[str, str]:
    """The address that was wanted, on this host whatever the form says, and the password.

    Raises:
        Refused: it is no such form.
    """
    kind = request.first.get(b"content-type", b"").split(b";", 1)[0].strip().lower()
    try:
        fields = parse_qs(data.decode(), max_num_fields=10) if kind == b"application/x-www-form-urlencoded" else {}
    except ValueError:
        fields = {}
    wanted = fields.get("to", ["/"])[0]
    if not wanted.isascii() or not QUERY.fullmatch(wanted.encode()):
        wanted = "/"
    password = fields.get("password", [""])[0]
    if not password:
        raise Refused("Type the password.")
    return "/" + wanted.lstrip("/\\"), password


@in_database
def _read_hash(space_id: int) -> str:
    return Space.objects.filter(pk=space_id).values_list("password", flat=True).first() or ""


def _check(space_id: int, address: str, password: str, encoded: str) -> None:
    keys = [f"space-password:{space_id}:{network(address) or 'unknown'}", f"space-password:{space_id}"]
    if count(keys[0], PERIOD_SECONDS) > PER_ADDRESS or count(keys[1], PERIOD_SECONDS) > PER_SPACE:
        raise Refused("There were too many wrong passwords. Try again in five minutes.", PERIOD_SECONDS)
    if not encoded or not check_password(password, encoded):
        raise Refused("That is not the password.")
    for key in keys:
        take_back(key)


class Passwords:
    """The checks of one event loop."""

    def __init__(self) -> None:
        self._waiting = 0

    async def check(self, route: Route, address: str, password: str) -> None:
        """Return when this is the Space's password.

        Args:
            route: a Space that asks for one.
            address: the visitor's.

        Raises:
            Refused: it is not, or too many were tried.
        """
        if self._waiting >= MAX_WAITING:
            raise Refused("Many passwords are being checked just now. Try again in a moment.", 5)
        self._waiting += 1
        try:
            encoded = await _read_hash(route.space_id)
            if lock_of(encoded) != route.lock:
                raise Refused("The password has just been changed. Try again.")
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(_executor, _check, route.space_id, address, password, encoded)
        finally:
            self._waiting -= 1
