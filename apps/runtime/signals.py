"""What the runtime tells the floors above, inside the transaction that made it true."""

from __future__ import annotations

from django.dispatch import Signal

worker_became_ready = Signal()
"""`space`, with its owner: one of its workers answers."""
