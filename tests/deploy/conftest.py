"""A really running portal behind a real nginx, and one behind a real Caddy, with the configurations of deploy/."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.deploy.caddy import caddy
from tests.deploy.front import PORTAL, PROXY, SPACES, Front, nginx
from tests.running_portal import RunningPortal

MAX_FILE_BYTES = 8 * 1024**2


@dataclass
class Site:
    """The whole of it, with two Spaces: `ada/speaks`, the app beside this file, and `ada/site`, a static one (behind
    nginx)."""

    portal: RunningPortal
    front: Front
    app: str
    static: str
    password: str = "correct-horse-battery"

    @property
    def deployment(self) -> Path:
        """The static Space's folder."""
        current = "Deployment.objects.get(space__name='site', is_current=True)"
        number = self.portal.shell(f"from apps.builds.models import Deployment\nprint({current}.pk)")
        return self.portal.data / "deployments" / number.strip()


def static_files(folder: Path) -> Path:
    (folder / "sub").mkdir(parents=True)
    (folder / "README.md").write_text(
        "---\nsdk: static\ncustom_headers:\n  cross-origin-opener-policy: same-origin\n---\n"
    )
    (folder / "index.html").write_text("<!doctype html><title>Static</title><h1>Static</h1>")
    (folder / "404.html").write_text("own 404")
    (folder / "large.bin").write_bytes(bytes(range(256)) * 4096 * 3)
    (folder / "empty.txt").write_text("")
    (folder / "sub" / "100%25 a?b#c;ä.txt").write_text("odd")
    return folder


def settings(front: Front, **further: str) -> dict[str, str]:
    """A portal's, behind a front."""
    return {
        "PORTICO_ADMIN": f"ada:{Site.password}",
        "PORTICO_URL": front.origin(PORTAL),
        "PORTICO_SPACES_DOMAIN": SPACES,
        "PORTICO_MAX_FILE_BYTES": str(MAX_FILE_BYTES),
        **further,
    }


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    front = Front(tmp_path_factory.mktemp("front"))
    given = settings(front, PORTICO_TRUSTED_PROXIES=PROXY, PORTICO_ACCEL="nginx")
    with (
        RunningPortal(tmp_path_factory.mktemp("portal"), **given) as portal,
        nginx(front, [portal.port], portal.data),
    ):
        portal.deploy(Path(__file__).with_name("app"), "ada/speaks")
        portal.deploy(static_files(tmp_path_factory.mktemp("files") / "site"), "ada/site")
        yield Site(portal, front, f"ada-speaks.{SPACES}", f"ada-site.{SPACES}")


@pytest.fixture(scope="session")
def caddy_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    front = Front(tmp_path_factory.mktemp("front"))
    given = settings(front, PORTICO_TRUSTED_PROXIES="127.0.0.1")
    with (
        RunningPortal(tmp_path_factory.mktemp("portal"), **given) as portal,
        caddy(front, portal.port),
    ):
        portal.deploy(Path(__file__).with_name("app"), "ada/speaks")
        yield Site(portal, front, f"ada-speaks.{SPACES}", f"ada-site.{SPACES}")
