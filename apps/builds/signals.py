"""What builds tell the floors above, inside the transaction that made it true."""

from __future__ import annotations

from django.dispatch import Signal

deployment_created = Signal()
"""`deployment`: it is the Space's current one and wants to run (or, static, to be served)."""
