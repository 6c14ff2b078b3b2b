"""The users of this machine that other people's code runs as, where the agent is root."""

from __future__ import annotations

import os
from pathlib import Path

FIRST, COUNT = 0x70000000, 65536
"""A range that no account has: far above people, services and the ranges that Debian gives to /etc/subuid."""


def user_of_space(space_id: int) -> int | None:
    """The user, and group, that a Space's workers run as: its own, as long as there are fewer Spaces than users.
    None where the agent is not root: then it is the agent's own user."""
    return FIRST + 1 + space_id % (COUNT - 1) if os.geteuid() == 0 else None


def own(folder: Path, user: int) -> None:
    """Make everything below `folder` the user's, unless it is."""
    if folder.stat().st_uid == user:
        return
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.chown(Path(root, name), user, user, follow_symlinks=False)
    os.chown(folder, user, user)
