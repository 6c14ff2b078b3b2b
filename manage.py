#!/usr/bin/env python3
"""Django's command line for Portico."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

VENV = Path(__file__).resolve().parent / os.environ.get("PORTICO_VENV", ".venv")


def main() -> None:
    if importlib.util.find_spec("django") is None:
        _go_on_in_venv()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


def _go_on_in_venv() -> None:
    """Whoever types `./manage.py` need not know of the virtual environment that `make run` made."""
    python = VENV / "bin" / "python"
    if not python.exists() or Path(sys.prefix) == VENV:
        sys.exit("Portico is not set up here yet. Run `make run` first.")
    os.execv(python, [str(python), *sys.argv])  # noqa: S606


if __name__ == "__main__":
    main()
