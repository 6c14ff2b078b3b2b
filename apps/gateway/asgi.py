"""The data plane (placeholder until the gateway is written in this same change)."""

from __future__ import annotations

from asgiref.typing import ASGIReceiveCallable, ASGISendCallable, Scope


def is_for_gateway(scope: Scope) -> bool:
    return False


async def gateway(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    raise NotImplementedError
