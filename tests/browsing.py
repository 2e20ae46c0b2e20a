"""Debian's Chromium without a window, and what a page does in it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from npm import installed
from peers import program
from playwright.sync_api import Browser, Page, Request, sync_playwright

AXE = Path(__file__).parent / "browser"
ARGUMENTS = (
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_MS = 20_000
DESK = {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"}
PHONE = {"viewport": {"width": 360, "height": 740}, "color_scheme": "dark"}


@dataclass(eq=False)
class Visit:
    """One page, whatever it asked for, and whatever it complained about."""

    page: Page
    address: str
    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("console", lambda said: self._note(said.type, said.text))
        self.page.on("pageerror", lambda error: self._note("error", str(error)))
        self.page.context.on("request", self._ask)

    def open(self, path: str) -> None:
        self.page.goto(self.address + path)

    def _note(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)

    def _ask(self, request: Request) -> None:
        self.asked.append(request.url)


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=program("chromium"), args=ARGUMENTS
        )
        yield browser
        browser.close()


@contextmanager
def visit(
    browser: Browser, address: str, look: Mapping[str, Any] = DESK, **more: Any
) -> Iterator[Visit]:
    """Yield a visit; one that asked another host, or complained, fails."""
    context = browser.new_context(**look, **more)
    visited = Visit(context.new_page(), address)
    yield visited
    context.close()
    abroad = [url for url in visited.asked if not url.startswith(address)]
    assert not visited.complaints + abroad, visited.complaints + abroad


def axe() -> str:
    """Return the accessibility checker of axe-core."""
    return (installed(AXE) / "axe-core" / "axe.min.js").read_text()


def barriers(page: Page, checker: str) -> list[str]:
    """Return what axe-core calls a violation on a page, and where."""
    page.evaluate(checker)
    found: list[str] = page.evaluate(
        """async () => (await axe.run()).violations.flatMap(({ id, nodes }) =>
             nodes.map((node) => `${id}: ${node.failureSummary} ${node.html}`))"""
    )
    return found
