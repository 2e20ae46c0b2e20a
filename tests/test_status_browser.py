"""A person looks at the pages: a real browser, every rule of the pages at work."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from browsing import DESK, PHONE, Visit, axe, barriers, chromium, visit
from playwright.sync_api import Browser, Page, expect
from status_inputs import LOCAL, TOKEN, preview, result
from status_project import NAMES
from status_scene import Scene

from plugin.jobs import State
from plugin.status import HttpConfig, StatusServer
from plugin.web.project import Project

pytestmark = [pytest.mark.peer, pytest.mark.slow]

LUMINANCE = """() => getComputedStyle(document.body).backgroundColor
  .match(/\\d+/g).map(Number).reduce((sum, part) => sum + part) / 765"""
FOCUS = """() => {
  const now = document.activeElement, box = now.getBoundingClientRect();
  const { outlineStyle, outlineWidth } = getComputedStyle(now);
  return {
    what: now.textContent.trim(),
    ring: outlineStyle === "solid" ? parseFloat(outlineWidth) : 0,
    seen: box.width > 0 && box.left >= 0 && box.top >= 0 && box.top < innerHeight,
    end: now === document.body,
  };
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def checker() -> str:
    return axe()


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


@pytest.fixture
def address(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    # However slow this machine is, a page is shown when the archive has answered.
    patient = partial(Project, wait_s=60)
    monkeypatch.setattr("plugin.web.project_pages.Project", patient)
    app = scene.app(LOCAL)
    config = HttpConfig(port=0)
    with StatusServer(app, config) as server:
        yield f"http://127.0.0.1:{server.port}"


@pytest.fixture
def desk(browser: Browser, address: str) -> Iterator[Visit]:
    with visit(browser, address) as visited:
        yield visited


def state_of(scene: Scene, job_id: str) -> State:
    listed = scene.service.queue.find(job_id)
    assert listed is not None
    return listed.state


def sign_in(page: Page, token: str = TOKEN) -> None:
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Sign in").click()


def test_a_running_study_moves_to_done_before_ones_eyes(
    scene: Scene, desk: Visit
) -> None:
    desk.open("/")
    page, job = desk.page, scene.running
    page.evaluate("window.untouched = true")
    running = page.get_by_role("region", name="Running now")
    expect(running).to_contain_text("infer 40 %")
    scene.service.report(job, "judge", 0.5)
    expect(running).to_contain_text("judge 50 %")
    scene.service.finish(job, result(), preview(9))
    picture = page.get_by_role("img", name=f"study {job.job_id}")
    expect(picture).to_be_visible()
    expect(running).to_have_count(0)
    expect(page).to_have_title("3 studies waiting. - brs")
    page.wait_for_function(
        "(image) => image.naturalWidth > 0", arg=picture.element_handle()
    )
    assert page.evaluate("window.untouched"), "the page was loaded anew"


def test_the_preview_fills_the_page_of_its_study(scene: Scene, desk: Visit) -> None:
    desk.open("/jobs")
    desk.page.get_by_role("link", name=scene.done[0]).click()
    picture = desk.page.get_by_role("img", name="contours")
    expect(picture).to_be_visible()
    assert picture.evaluate("(image) => image.complete && image.naturalWidth") > 800
    assert picture.evaluate("(image) => image.clientWidth") > 800


def test_a_rerun_needs_the_token(scene: Scene, desk: Visit) -> None:
    page, job_id = desk.page, scene.done[0]
    desk.open(f"/jobs/{job_id}")
    expect(page.get_by_role("button", name="Run again")).to_have_count(0)
    refused = page.request.post(f"{desk.address}/jobs/{job_id}/rerun")
    assert (refused.status, state_of(scene, job_id)) == (403, State.DONE)
    page.get_by_role("main").get_by_role("link", name="Sign in").click()
    sign_in(page, "not-the-token-at-all")
    expect(page.get_by_role("alert")).to_contain_text("That is not the token.")
    # Chromium itself reports the answer 401.
    assert [text for text in desk.complaints if "401" not in text] == []
    desk.complaints.clear()
    sign_in(page)
    page.get_by_role("button", name="Run again").click()
    expect(page.get_by_role("main")).to_contain_text("Waits for a worker.")
    assert state_of(scene, job_id) is State.QUEUED


def test_a_draft_is_accepted_by_hand(scene: Scene, desk: Visit) -> None:
    desk.open("/annotation")
    desk.page.get_by_role("main").get_by_role("link", name="sign in").click()
    sign_in(desk.page)
    desk.page.get_by_role("link", name=NAMES[0]).click()
    role = desk.page.get_by_label("Your role")
    accept = desk.page.get_by_role("button", name="Accept")
    role.fill("Dr. Doe")
    accept.click()
    assert role.evaluate("(field) => field.validity.patternMismatch")
    role.fill("Radiologist")
    accept.click()
    expect(desk.page.get_by_role("main")).to_contain_text("Accepted by a radiologist.")


def test_without_scripts_all_is_read_and_a_study_run_again(
    scene: Scene, browser: Browser, address: str
) -> None:
    with visit(browser, address, java_script_enabled=False) as plain:
        page = plain.page
        plain.open("/")
        expect(page.get_by_role("region", name="Running now")).to_contain_text("40 %")
        expect(page.locator('noscript meta[http-equiv="refresh"]')).to_have_count(1)
        page.get_by_role("link", name="Sign in").click()
        sign_in(page)
        page.get_by_role("link", name=scene.parked).first.click()
        page.get_by_role("button", name="Run again").click()
        expect(page.get_by_role("main")).to_contain_text("Waits for a worker.")
    assert state_of(scene, scene.parked) is State.QUEUED


def paths(scene: Scene) -> list[str]:
    """Return one address of every kind of page."""
    jobs = [scene.done[0], scene.done[1], scene.done[3], scene.parked, scene.queued]
    jobs += [scene.running.job_id, scene.incoming]
    own = ["/", "/jobs", "/jobs?state=done", "/jobs/0123456789abcdef", "/login"]
    project = ["/annotation", f"/annotation/session?name={NAMES[0]}", "/training"]
    return own + project + [f"/jobs/{job_id}" for job_id in jobs]


@pytest.mark.parametrize("look", [DESK, PHONE], ids=["desk, light", "phone, dark"])
def test_no_page_has_a_barrier_or_leaves_the_screen(
    scene: Scene, browser: Browser, address: str, checker: str, look: Mapping[str, Any]
) -> None:
    with visit(browser, address, look) as visited:
        page = visited.page
        visited.open("/login")
        sign_in(page)
        for path in paths(scene):
            visited.open(path)
            assert barriers(page, checker) == [], path
            assert (
                page.evaluate("document.documentElement.scrollWidth")
                <= (look["viewport"]["width"])
            ), path
        # Chromium itself reports the page that is not there.
        visited.complaints[:] = [c for c in visited.complaints if "404" not in c]


def test_dark_is_dark_and_light_is_light(browser: Browser, address: str) -> None:
    shades = []
    for look in (DESK, PHONE):
        with visit(browser, address, look) as visited:
            visited.open("/")
            shades.append(visited.page.evaluate(LUMINANCE))
    assert shades[0] > 0.9
    assert shades[1] < 0.15


def test_the_keyboard_reaches_everything_and_is_seen(desk: Visit) -> None:
    desk.open("/?refresh=off")
    links = desk.page.locator("a, button").count()
    seen = []
    for _ in range(links):
        desk.page.keyboard.press("Tab")
        seen.append(desk.page.evaluate(FOCUS))
    assert seen[0]["what"] == "Skip to the content"
    assert [stop for stop in seen if stop["end"]] == []
    assert [stop for stop in seen if stop["ring"] < 2 or not stop["seen"]] == []
    assert desk.page.evaluate("(document.activeElement.blur(), true)")


def test_a_service_that_is_gone_is_said_until_it_is_back(
    browser: Browser, address: str
) -> None:
    with visit(browser, address) as visited:
        page = visited.page
        visited.open("/")
        gone = page.get_by_text("No answer from the service.")
        expect(gone).to_be_hidden()
        page.context.set_offline(True)
        expect(gone).to_be_visible()
        page.context.set_offline(False)
        expect(gone).to_be_hidden()
        # Chromium itself reports what it could not load.
        visited.complaints.clear()
