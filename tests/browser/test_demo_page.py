"""The demo's page in a real browser: what it starts and leaves is what it shows."""

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.browser.chromium import Page, chromium, needs_chromium
from tests.servers.process import Served, serve

pytestmark = [needs_chromium, pytest.mark.patience(90)]


@pytest.fixture(scope="module")
def demo() -> Iterator[Served]:
    with serve("demo") as served:
        yield served


@pytest.fixture(scope="module")
def page(demo: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("chromium")) as page:
        yield page


def endings(page: Page) -> Counter[str]:
    """The endings that the journal on the page shows."""
    return Counter(
        page.evaluate("[...document.querySelectorAll('#journal li')].map(li => li.dataset.ending)")
    )


def all_ended(socket: bool) -> str:
    """The condition that the journal has caught up with the page, but for an open WebSocket."""
    return f"document.getElementById('running').textContent === '{int(socket)}'"


def test_a_scripted_visit_shows_every_ending(demo: Served, page: Page) -> None:
    page.look(1280, 900)
    page.go(f"{demo.url}/?auto=1")
    page.wait_for("document.documentElement.dataset.auto === 'done'")
    page.wait_for("document.getElementById('echoed').textContent === 'came back: good evening'")
    page.wait_for(all_ended(socket=True))
    assert endings(page) == {
        "completed": 3,
        "left before the response": 1,
        "left in mid-stream": 1,
        "cut upload": 1,
        "failed": 2,
        "running": 1,
    }
    counts = page.evaluate(
        "Object.fromEntries([...document.querySelectorAll('#counts li')]"
        ".map(li => [li.dataset.ending, Number(li.querySelector('b').textContent)]))"
    )
    assert counts == {
        "completed": 3,
        "left before the response": 1,
        "left in mid-stream": 1,
        "cut upload": 1,
        "failed": 2,
    }


def test_the_visit_left_no_task_and_no_generator(page: Page) -> None:
    page.evaluate("document.getElementById('leave-all').click()")
    page.wait_for(all_ended(socket=False))
    page.wait_for("document.getElementById('tasks_left').textContent === '0'")
    assert page.evaluate("document.getElementById('generators_open').textContent") == "0"


def test_the_buttons_start_and_leave(page: Page) -> None:
    page.evaluate("document.getElementById('clear').click()")
    page.wait_for("document.querySelectorAll('#journal li').length === 0")
    page.evaluate("document.querySelector('form[data-kind=tokens] button').click()")
    page.wait_for("document.querySelector('#flights span')?.textContent.includes('evening')")
    page.evaluate("document.querySelector('#flights button').click()")
    page.wait_for("document.querySelector('#journal li')?.dataset.ending === 'left in mid-stream'")
    assert page.evaluate("document.querySelectorAll('#flights li').length") == 0


def test_twenty_started_and_left_at_random_all_end(page: Page) -> None:
    page.evaluate("document.getElementById('clear').click()")
    page.wait_for("document.querySelectorAll('#journal li').length === 0")
    page.evaluate("document.getElementById('twenty').click()")
    page.wait_for("document.querySelectorAll('#flights li').length === 5")
    page.wait_for("document.querySelectorAll('#flights li').length === 0", seconds=60)
    page.wait_for(all_ended(socket=False))
    # On a busy machine the browser may give up some before it has sent them.
    assert 15 <= endings(page).total() <= 20
    assert set(endings(page)) <= {
        "completed",
        "left before the response",
        "left in mid-stream",
        "cut upload",
    }
    page.wait_for("document.getElementById('tasks_left').textContent === '0'")
    assert page.evaluate("document.getElementById('generators_open').textContent") == "0"


@pytest.mark.parametrize("width", [320, 390, 800, 1280])
def test_no_window_is_too_narrow_for_it(page: Page, width: int) -> None:
    page.look(width, 800)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


CONTRAST = """(() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const [r, g, b] = numbers(colour).map((v) => v / 255)
      .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const colour = getComputedStyle(node).backgroundColor;
      if (numbers(colour)[3] !== 0) return colour;
    }
  };
  return [...document.querySelectorAll("main *, .counts *, .vitals *")]
    .filter((node) => node.checkVisibility() && node.childNodes.length
      && [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim()))
    .map((node) => {
      const [a, b] = [light(getComputedStyle(node).color), light(ground(node))];
      const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
      return [ratio, node.outerHTML.slice(0, 90)];
    }).filter(([ratio]) => ratio < 4.5);
})()"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_the_contrast_that_wcag_asks_for(page: Page, scheme: str) -> None:
    """WCAG 2.2, success criterion 1.4.3: 4.5 to 1."""
    page.look(1280, 900, scheme)
    assert page.evaluate(CONTRAST) == []


def test_every_control_has_a_name(page: Page) -> None:
    nameless = page.evaluate(
        "[...document.querySelectorAll('input')].filter(field => !field.labels.length)"
        ".concat([...document.querySelectorAll('button')].filter(b => !b.textContent.trim()))"
        ".map(node => node.outerHTML)"
    )
    assert nameless == []


def test_the_page_asks_nobody_else_for_anything(demo: Served, page: Page) -> None:
    loaded = page.evaluate("performance.getEntriesByType('resource').map(entry => entry.name)")
    assert loaded
    assert [url for url in loaded if not url.startswith((demo.url, "data:"))] == []


def test_the_page_raised_nothing(page: Page) -> None:
    assert page.complaints == []


def test_the_server_logged_each_leaving_as_499_and_each_error_once(
    demo: Served, page: Page
) -> None:
    log = demo.log()
    assert log.count('"GET /slow?seconds=5 HTTP/1.1" 499') == 1
    assert log.count('"POST /upload?pause=0.05 HTTP/1.1" 499') == 1
    assert log.count("Exception in ASGI application") == 2
    assert log.count("RuntimeError: The demo's") == 2
    assert "/journal HTTP" not in log
