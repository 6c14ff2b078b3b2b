"""Files that nginx sends after the portal decided: the same answers as from the portal, byte for byte and header for
header."""

from __future__ import annotations

from collections.abc import Iterator
from http.client import HTTPConnection

import pytest

from tests.deploy.conftest import Site
from tests.deploy.front import PORTAL, PROXY, Answer, Front, nginx
from tests.waiting import wait_until

pytestmark = pytest.mark.integration

LARGE = bytes(range(256)) * 4096 * 3
EACH_TIME = {"date", "connection", "x-request-id"}


@pytest.fixture(scope="module")
def plain(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """The same nginx, but files come through it from the portal."""
    front = Front(tmp_path_factory.mktemp("plain"))
    change = ("proxy_set_header X-Forwarded-Accel nginx;", 'proxy_set_header X-Forwarded-Accel "";')
    with nginx(front, [site.portal.port], site.portal.data, change=change):
        yield front


def directly(site: Site, host: str, path: str, *, source: str, headers: dict[str, str]) -> Answer:
    """What the web process itself says."""
    connection = HTTPConnection("127.0.0.1", site.portal.port, timeout=30, source_address=(source, 0))
    connection.request("GET", path, headers={"Host": host, **headers})
    answer = connection.getresponse()
    found = Answer(answer.status, [(k.lower(), v) for k, v in answer.getheaders()], answer.read())
    connection.close()
    return found


def test_only_a_trusted_proxy_that_asks_is_given_a_place_instead_of_a_file(site: Site) -> None:
    asking = {"X-Forwarded-Accel": "nginx"}
    told = directly(site, site.static, "/large.bin", source=PROXY, headers=asking)
    where = told.get("x-accel-redirect")
    assert where == f"/.portico/accel/deployments/{site.deployment.name}/large.bin" and told.body == b""
    for source, headers in (("127.0.0.1", asking), (PROXY, {}), (PROXY, {"X-Forwarded-Accel": "other"})):
        answer = directly(site, site.static, "/large.bin", source=source, headers=headers)
        assert answer.get("x-accel-redirect") is None and answer.body == LARGE


CASES = {
    "whole": ("/large.bin", {}),
    "page": ("/", {}),
    "odd name": ("/sub/100%2525%20a%3Fb%23c%3B%C3%A4.txt", {}),
    "empty": ("/empty.txt", {}),
    "missing": ("/none", {}),
    "folder": ("/sub", {}),
    "range": ("/large.bin", {"Range": "bytes=5-1000004"}),
    "end": ("/large.bin", {"Range": "bytes=-7"}),
    "several ranges": ("/large.bin", {"Range": "bytes=0-1,5-6"}),
    "range beyond": ("/large.bin", {"Range": "bytes=99999999-"}),
    "range of nonsense": ("/large.bin", {"Range": "bytes=9-2"}),
    "range if other": ("/large.bin", {"Range": "bytes=0-9", "If-Range": '"other"'}),
    "range beyond if other": ("/large.bin", {"Range": "bytes=99999999-", "If-Range": '"other"'}),
    "range in other units": ("/large.bin", {"Range": "lines=0-9"}),
    "if none of any": ("/large.bin", {"If-None-Match": "*"}),
    "if none of another": ("/large.bin", {"If-None-Match": '"other"'}),
    "if match": ("/large.bin", {"If-Match": '"other"'}),
    "framed page": ("/", {"Sec-Fetch-Storage-Access": "none", "Sec-Fetch-Dest": "iframe"}),
    "framed file": ("/large.bin", {"Sec-Fetch-Storage-Access": "none"}),
    "script of another site": ("/large.bin", {"Origin": "https://blog.example"}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_static_spaces_answers_are_the_same(site: Site, plain: Front, case: str) -> None:
    path, headers = CASES[case]
    for method in ("GET", "HEAD"):
        by_nginx, by_portal = (f.ask(method, site.static, path, headers=headers) for f in (site.front, plain))
        assert by_nginx.status == by_portal.status
        assert by_nginx.body == by_portal.body
        assert lasting(by_nginx) == lasting(by_portal)


def lasting(answer: Answer) -> list[tuple[str, str]]:
    """Its headers, but for those of the moment, and for one that a partial answer says by its status."""
    left_out = EACH_TIME | ({"accept-ranges"} if answer.status == 206 else set())
    return sorted((k, v) for k, v in answer.headers if k not in left_out)


def test_an_etag_is_good_for_the_next_request(site: Site) -> None:
    first = site.front.get(site.static, "/large.bin")
    etag, modified = first.get("etag") or "", first.get("last-modified") or ""
    assert site.front.get(site.static, "/large.bin", headers={"If-None-Match": etag}).status == 304
    part = site.front.get(site.static, "/large.bin", headers={"Range": "bytes=0-9", "If-Range": etag})
    assert (part.status, part.body, part.get("etag")) == (206, LARGE[:10], etag)
    assert site.front.get(site.static, "/large.bin", headers={"If-Modified-Since": modified}).status == 200


def test_a_file_of_the_repository(site: Site, plain: Front) -> None:
    path = "/spaces/ada/site/resolve/main/large.bin"
    by_nginx, by_portal = site.front.get(PORTAL, path), plain.get(PORTAL, path)
    assert by_nginx.status == 200 and by_nginx.body == by_portal.body == LARGE
    adds = {"accept-ranges", "last-modified"}
    assert [h for h in lasting(by_nginx) if h[0] not in adds] == lasting(by_portal)
    assert by_nginx.get("content-security-policy") == "sandbox; default-src 'none'"
    assert (by_nginx.get("content-disposition") or "").startswith("attachment;")
    part = site.front.get(PORTAL, path, headers={"Range": "bytes=5-9"})
    assert (part.status, part.body) == (206, LARGE[5:10])
    hidden = site.front.get(PORTAL, "/spaces/ada/site/resolve/main/README.md")
    assert hidden.body.startswith(b"---\nsdk: static")


def test_a_link_in_the_deployments_folder_leads_nowhere(site: Site) -> None:
    link = site.deployment / "planted.txt"
    link.symlink_to(site.portal.data / "keys" / "secret_key")
    assert site.front.get(site.static, "/planted.txt").status == 404
    assert site.front.get(PORTAL, "/spaces/ada/site/resolve/main/planted.txt").status == 404


def test_a_space_that_is_made_private_is_no_longer_given_away(site: Site) -> None:
    change = "from apps.spaces.models import Space\nSpace.objects.filter(name='site').update(visibility='{}')"
    site.portal.shell(change.format("private"))
    try:
        for host, path in ((site.static, "/large.bin"), (PORTAL, "/spaces/ada/site/resolve/main/large.bin")):
            wait_until(lambda host=host, path=path: site.front.get(host, path).status == 404, seconds=10)
    finally:
        site.portal.shell(change.format("public"))
        wait_until(lambda: site.front.get(site.static, "/").status == 200, seconds=10)
