"""Code that multiplies, for sandboxes to hold."""

from __future__ import annotations

ENDLESS_FORKS = """
while True:
    try:
        if os.fork() == 0:
            os.setsid()
    except OSError:
        pass
"""
