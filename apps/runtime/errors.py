"""Why a worker is not there, for callers of the agent."""

from __future__ import annotations


class AgentUnavailable(Exception):
    """The agent of this node does not answer."""


class StartRefused(Exception):
    """The Space is not to be started, or could not be.

    Attributes:
        stage: the Space's stage, a value of `apps.spaces.models.Stage`.
        message: for people, in plain words.
    """

    def __init__(self, stage: str, message: str) -> None:
        super().__init__(f"{stage}: {message}")
        self.stage, self.message = stage, message


class WorkerGone(ConnectionError):
    """The worker has ended; `ensure_worker` gives the one that took its place."""
