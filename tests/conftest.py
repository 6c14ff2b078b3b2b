"""What every test stands on: a data folder of its own, made before Django reads its settings."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

DATA = Path(tempfile.mkdtemp(prefix="portico-test-"))
os.environ["PORTICO_DATA"] = str(DATA)
os.environ["PORTICO_TESTING"] = "true"
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
