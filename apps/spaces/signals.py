"""What this floor tells the floors above it. Each is sent inside the transaction that made it true:
receivers that start work elsewhere do so in `transaction.on_commit`."""

from __future__ import annotations

from django.dispatch import Signal

revision_created = Signal()
"""`space`, `revision` (40 hex digits), `user` or None: main has a new tip."""

lifecycle_requested = Signal()
"""`space`, `verb`: `start`, `stop` (the stage already says why: PAUSED, STOPPED, SLEEPING), `restart`, `settle`
(nothing of it runs: give it the stage that is true), or `empty-storage` (delete what it keeps at `/data`)."""

build_requested = Signal()
"""`space`, `factory`: build the tip again; `factory` resolves its requirements anew."""

space_deleted = Signal()
"""`space_id`, `repository` (UUID): the row is gone, files and workers may go."""
