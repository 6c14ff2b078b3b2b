"""Files on their way into a Space, as a person drops, picks or pastes them: what is listed is what is committed."""

from __future__ import annotations

import json
import socket
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Route, expect

from tests.e2e.conftest import ADMIN, sign_in
from tests.running_portal import RunningPortal

pytestmark = pytest.mark.e2e

PUTS = "**/uploads/*/files/**"


@pytest.fixture(scope="module")
def signed_in(browser: Browser, portal: RunningPortal) -> Iterator[BrowserContext]:
    context = browser.new_context()
    context.set_default_timeout(30_000)
    sign_in(context.new_page(), portal, *ADMIN)
    yield context
    context.close()


@pytest.fixture
def page(signed_in: BrowserContext, portal: RunningPortal) -> Iterator[Page]:
    """The page that makes a Space, a static one."""
    page = signed_in.new_page()
    page.goto(f"{portal.url}/new-space")
    page.locator("[name=sdk][value=static]").check()
    yield page
    page.close()


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """The folder of a demo, with an archive among its files."""
    folder = tmp_path / "my-demo"
    (folder / "pages").mkdir(parents=True)
    (folder / "index.html").write_text("<h1>Hello</h1>")
    (folder / "pages" / "one.html").write_text("one")
    with zipfile.ZipFile(folder / "data.zip", "w") as archive:
        archive.writestr("inside.csv", "1,2")
    return folder


def drop(page: Page, over: Locator, *paths: Path) -> None:
    """Drop files and folders of this machine on the middle of `over`, as the operating system does."""
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    assert box
    cdp = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        where = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
        cdp.send("Input.dispatchDragEvent", {"type": kind, **where, "data": data})
        if kind == "dragOver":
            expect(page.locator("body")).to_have_class("dropping")
    cdp.detach()


def zone(page: Page) -> Locator:
    return page.locator("[data-dropzone]")


def row(page: Page, path: str) -> Locator:
    return page.locator("[data-upload-list] li").filter(has=page.get_by_text(path, exact=True))


def expect_listed(page: Page, *paths: str) -> None:
    expect(page.locator("[data-upload-total]")).to_contain_text(f"{len(paths)} of {len(paths)} files", timeout=30_000)
    assert sorted(page.locator("[data-upload-list] .path").all_inner_texts()) == sorted(paths)


def create(page: Page, portal: RunningPortal, name: str) -> set[str]:
    """Send the form; the files of the Space that comes of it."""
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_role("button", name="Create Space").click()
    page.wait_for_url(f"{portal.url}/spaces/ada/{name}")
    files = {f["rfilename"] for f in json.loads(portal.get(f"/api/spaces/ada/{name}")[1])["siblings"]}
    return files - {"README.md", ".gitattributes"}


def test_each_upload_has_a_bar_while_it_is_on_its_way(page: Page, tmp_path: Path) -> None:
    held: list[Route] = []
    slow = True

    def hold(route: Route) -> None:
        if slow:
            held.append(route)
        else:
            route.continue_()

    page.route(PUTS, hold)
    names = [f"{letter}.txt" for letter in "abcd"]
    for name in names:
        (tmp_path / name).write_text(name)
    page.get_by_label("Choose files").set_input_files([tmp_path / name for name in names])
    bars = page.get_by_role("progressbar")
    expect(bars).to_have_count(4)
    for name in names:
        expect(page.get_by_role("progressbar", name=f"Progress of {name}", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Create Space")).to_be_disabled()
    slow = False
    while held:
        held.pop().continue_()
    expect_listed(page, *names)
    expect(bars).to_have_count(0)


def test_an_archive_that_is_dropped_is_listed_by_its_members(page: Page, demo: Path) -> None:
    drop(page, zone(page), demo / "data.zip")
    expect_listed(page, "inside.csv")


def test_an_archive_within_a_dropped_folder_is_committed_as_it_is(
    page: Page, portal: RunningPortal, demo: Path
) -> None:
    files = {"index.html", "pages/one.html", "data.zip"}
    drop(page, zone(page), demo)
    expect_listed(page, *files)
    assert create(page, portal, "dropped") == files


def test_a_folder_that_is_picked_is_listed_as_one_that_is_dropped(page: Page, demo: Path) -> None:
    page.get_by_label("Choose a folder").set_input_files(demo)
    expect_listed(page, "index.html", "pages/one.html", "data.zip")


def test_files_dropped_beside_the_zone_count_and_the_page_stays(page: Page, portal: RunningPortal, demo: Path) -> None:
    drop(page, page.get_by_role("heading", name="New Space"), demo / "index.html")
    expect_listed(page, "index.html")
    expect(page.locator("body")).not_to_have_class("dropping")
    assert page.url == f"{portal.url}/new-space"


def test_a_file_over_the_limit_is_refused_before_it_is_sent_and_the_rest_goes_on(
    page: Page, portal: RunningPortal, demo: Path
) -> None:
    with (demo / "large.bin").open("wb") as large:
        large.truncate(1024**3 + 1)
    drop(page, zone(page), demo / "large.bin", demo / "index.html")
    large_row = row(page, "large.bin")
    expect(large_row).to_contain_text("a file may have 1 GiB")
    expect(large_row.get_by_role("button", name="Retry")).to_have_count(0)
    expect(row(page, "index.html")).to_contain_text("14 bytes", timeout=30_000)
    large_row.get_by_role("button", name="Remove large.bin").click()
    expect_listed(page, "index.html")
    assert create(page, portal, "without-the-large-one") == {"index.html"}


def test_what_the_server_refuses_is_told_in_words(page: Page, portal: RunningPortal, tmp_path: Path) -> None:
    (tmp_path / "broken.zip").write_bytes(b"not an archive")
    (tmp_path / "form.txt").write_bytes(b"x" * 6 * 1024**2)
    # Where the limit is that of a form, 5 MiB.
    page.route("**/files/form.txt", lambda route: route.continue_(url=f"{portal.url}/new-space"))
    drop(page, zone(page), tmp_path / "broken.zip", tmp_path / "form.txt")
    expect(row(page, "broken.zip").locator(".field-error")).to_contain_text("archive", timeout=30_000)
    expect(row(page, "form.txt").locator(".field-error")).to_contain_text("may carry at most", timeout=30_000)


def test_an_upload_that_breaks_off_is_told_and_tried_again(page: Page, portal: RunningPortal, demo: Path) -> None:
    page.route("**/files/index.html", lambda route: route.abort("connectionreset"))
    drop(page, zone(page), demo)
    broken = row(page, "index.html")
    expect(broken).to_contain_text("The connection broke", timeout=30_000)
    page.unroute("**/files/index.html")
    broken.get_by_role("button", name="Retry").click()
    expect_listed(page, "index.html", "pages/one.html", "data.zip")
    assert create(page, portal, "tried-again") == {"index.html", "pages/one.html", "data.zip"}


def test_an_upload_broken_off_half_way_stages_nothing(page: Page, portal: RunningPortal) -> None:
    token = page.locator("[name=csrfmiddlewaretoken]").first.input_value()
    begin = "async (token) => (await fetch('/uploads', { method: 'POST', headers: { 'X-CSRFToken': token } })).json()"
    upload = page.evaluate(begin, token)["id"]
    cookies = "; ".join(f"{c['name']}={c['value']}" for c in page.context.cookies(portal.url))
    head = (
        f"PUT /uploads/{upload}/files/index.html HTTP/1.1\r\nHost: localhost:{portal.port}\r\nCookie: {cookies}\r\n"
        f"X-CSRFToken: {token}\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    )
    for length, listed in ((1000, []), (10, [{"path": "index.html", "size": 10}])):
        with socket.create_connection(("127.0.0.1", portal.port), timeout=30) as s:
            s.sendall((head % length).encode() + b"x" * 10)
            if length > 10:
                s.shutdown(socket.SHUT_WR)
            while s.recv(65536):
                pass
        found = page.evaluate("async (id) => (await fetch(`/uploads/${id}`)).json()", upload)
        assert found == {"files": listed}
    assert list((portal.data / "spool").iterdir()) == []


def test_a_template_sets_its_sdk_and_its_files_are_committed(page: Page, portal: RunningPortal) -> None:
    page.locator("[name=sdk][value=gradio]").check()
    page.get_by_text("Or start from a template").click()
    page.get_by_role("radio", name="Static page").check()
    expect(page.locator("[name=sdk]:checked")).to_have_value("static")
    page.locator("[name=sdk][value=streamlit]").check()
    expect(page.get_by_role("radio", name="None")).to_be_checked()
    page.get_by_role("radio", name="Static page").check()
    assert create(page, portal, "from-a-template") == {"index.html", "script.js", "style.css"}


def test_what_is_pasted_is_committed_under_the_name_that_is_said(page: Page, portal: RunningPortal) -> None:
    expect(page.get_by_text("Or paste an index.html")).to_be_visible()
    page.locator("[name=sdk][value=gradio]").check()
    page.get_by_text("Or paste an app.py").click()
    page.locator("[name=sdk][value=static]").check()
    page.get_by_role("textbox", name="index.html").fill("<h1>Pasted</h1>")
    assert create(page, portal, "pasted") == {"index.html"}
