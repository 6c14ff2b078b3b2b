"""A websocket of the tests that waits longer than Channels' own: on a busy machine an answer may take seconds."""

from __future__ import annotations

from typing import Any

from channels.testing import WebsocketCommunicator

PATIENCE_SECONDS = 20


class PatientSocket(WebsocketCommunicator):  # type: ignore[misc]  # Channels has no types
    async def receive_output(self, timeout: float = 1) -> Any:
        return await super().receive_output(max(timeout, PATIENCE_SECONDS))
