"""What every test stands on: a data folder of its own, made before Django reads its settings."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import django
import pytest
from django.conf import settings

if TYPE_CHECKING:
    from playwright.sync_api import Playwright

    from tests.running_agent import RunningAgent
    from tests.running_portal import RunningPortal

DATA = Path(tempfile.mkdtemp(prefix="portico-test-"))
atexit.register(shutil.rmtree, DATA, ignore_errors=True)
os.environ["PORTICO_DATA"] = str(DATA)
os.environ["PORTICO_TESTING"] = "true"
os.environ["DJANGO_SETTINGS_MODULE"] = "portal.settings"
if os.environ.get("REDIS_URL") and (number := os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")):
    # A Redis database each: one of these processes must not empty the other's caches.
    os.environ["REDIS_URL"] = f"{os.environ['REDIS_URL'].removesuffix('/0')}/{number}"
django.setup()
settings.PASSWORD_HASHERS = ["tests.hashers.QuickHasher"]
from apps.runtime import database  # noqa: E402

database.KEPT_SECONDS = 0.0  # a database that somebody is connected to cannot be dropped
# Not for pytest-xdist's workers: they would read the settings, with this process' data folder, before they come here.
del os.environ["DJANGO_SETTINGS_MODULE"]
for folder in ("static", "queue/messages", "queue/control", "queue/processed"):
    (DATA / folder).mkdir(parents=True)  # as `portico up` makes them


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """SQLite in the data folder's own file instead of in memory, so that processes a test starts see its rows."""
    from django.db import connection

    if connection.vendor == "sqlite":
        connection.settings_dict["TEST"]["NAME"] = str(DATA / "portico.sqlite3")


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    """One for all that drive a browser: there cannot be two in a process."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="session")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPortal]:
    """One portal for the whole run, started as `make run` starts it, with the administrator `ADMIN`."""
    from tests.running_portal import ADMIN, RunningPortal

    with RunningPortal(tmp_path_factory.mktemp("portal"), PORTICO_ADMIN=":".join(ADMIN)) as running:
        yield running


@pytest.fixture(scope="session")
def token(portal: RunningPortal) -> str:
    """An access token of the administrator."""
    return portal.token("ada")


@pytest.fixture(scope="session")
def kept_agents(django_db_setup: None) -> Iterator[None]:
    """The last of them ends before the database goes."""
    from tests.running_agent import end_kept

    yield
    end_kept()


@pytest.fixture
def lent_agent(kept_agents: None, transactional_db: None) -> Iterator[Callable[..., RunningAgent]]:
    """`lent_agent(PORTICO_SLEEP_SECONDS="1")` is an agent with these settings, which tests use one after the other;
    what a test started is ended with it."""
    from tests.running_agent import kept, shared

    with contextlib.ExitStack() as stack:
        yield lambda **settings: stack.enter_context(shared(kept(**settings)))
