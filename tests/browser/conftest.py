"""A real cloud with real and faulty engines, and a real Chromium in front of its page.

web      the running cloud: the tiny model embedded, beside it engines that say and break on demand
chrome   starts browsers: chrome(language="ko"); all of them end with the tests
page     the page of that cloud, logged out, in a browser that the tests share
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait

from haneul.testing.engine import FakeEngine, Faults

START_S = 60
WAIT_S = 20
HANEUL = [sys.executable, "-m", "haneul"]
HOSTILE = [
    "<img src=x onerror=\"document.title='owned'\">",
    "<script>alert(1)</script>",
    "**bold**",
]
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,800",
]

Chrome = Callable[..., webdriver.Chrome]


@dataclass(frozen=True)
class Web:
    """Where the cloud is, the key that opens it, and the name of its embedded model."""

    url: str
    key: str
    model: str


class Page:
    """The page as its reader has it: what is seen, what is pressed."""

    def __init__(self, driver: webdriver.Chrome, web: Web) -> None:
        self.driver = driver
        self.web = web

    def open(self) -> None:
        self.driver.get(self.web.url)
        self.driver.delete_all_cookies()
        self.driver.get(self.web.url)
        self.driver.get_log("browser")  # what was said before belongs to another test

    def one(self, selector: str) -> WebElement:
        """The first such element that is seen, once there is one."""
        find = (
            "return [...document.querySelectorAll(arguments[0])].find((e) => e.checkVisibility())"
        )
        wait = WebDriverWait(self.driver, WAIT_S, 0.05)
        found: WebElement = wait.until(
            lambda _: self.driver.execute_script(find, selector), selector
        )
        return found

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        """What is written in each such element, taken at one moment."""
        read = "return [...document.querySelectorAll(arguments[0])].map((e) => e.innerText)"
        found: list[str] = self.driver.execute_script(read, selector)
        return found

    def until(self, is_so: Callable[[], bool], what: str = "") -> None:
        WebDriverWait(self.driver, WAIT_S, 0.05).until(lambda _: is_so(), what)

    def press(self, selector: str) -> None:
        self.one(selector).click()

    def log_in(self, key: str | None = None) -> None:
        self.one("#key").send_keys((key or self.web.key) + Keys.ENTER)

    def choose(self, model: str) -> None:
        """Picks a model in the chat."""
        self.until(lambda: bool(self.all(f'#model option[value="{model}"]')), model)
        Select(self.one("#model")).select_by_value(model)

    def say(self, text: str) -> None:
        """Sends a question without waiting for the answer."""
        self.one("#message").send_keys(text + Keys.ENTER)

    def ask(self, text: str, model: str | None = None) -> WebElement:
        """The turn of a question, once its answer has ended."""
        self.one("#message")
        if model is not None:
            self.choose(model)
        turns = len(self.all(".turn"))
        self.say(text)
        self.until(lambda: len(self.all(".turn")) > turns and not self.all("[aria-busy]"), text)
        return self.all(".turn")[-1]

    def part(self, turn: WebElement, selector: str) -> str:
        """The text of a piece of a turn, in one line; "" where there is none."""
        found = turn.find_elements(By.CSS_SELECTOR, selector)
        return " ".join(" ".join(one.text for one in found).split())

    def complaints(self) -> list[str]:
        """What the browser held against the page, but for refused requests, which tests cause."""
        entries: list[dict[str, Any]] = self.driver.get_log("browser")
        severe = [entry["message"] for entry in entries if entry["level"] == "SEVERE"]
        return [text for text in severe if "the server responded with a status of" not in text]


@pytest.fixture(scope="session")
def web(tiny_model: Path) -> Iterator[Web]:
    """The cloud and its engines; prices are per million tokens."""
    engines = {
        "hostile": FakeEngine(words=HOSTILE),
        "slow": FakeEngine(words=["drop"] * 2000, delay_s=0.05),
        "broken": FakeEngine(words=["a", "b", "c", "d"], faults=Faults(error_after=3)),
        "busy": FakeEngine(faults=Faults(status=503, retry_after_s=7)),
    }
    with tempfile.TemporaryDirectory(prefix="hn-") as home, _serving(engines):
        environ = {**os.environ, "HANEUL_HOME": home, "NO_COLOR": "1"}
        for name, engine in engines.items():
            price = ["--price-in", "0.5", "--price-out", "1"]
            add = [*HANEUL, "engines", "add", name, engine.url, *price]
            added = subprocess.run(add, env=environ, capture_output=True, text=True)
            assert added.returncode == 0, added.stdout + added.stderr
        with _up(tiny_model, environ) as facts:
            yield Web(facts["base_url"].removesuffix("/v1"), facts["key"], facts["model"])


@contextmanager
def _up(model: Path, environ: dict[str, str]) -> Iterator[dict[str, Any]]:
    """A running cloud; what it says of itself."""
    flags = ["--port", "0", "--model", str(model), "--context", "2048", "--no-input", "--json"]
    process = subprocess.Popen([*HANEUL, "up", *flags], env=environ, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        said = b""
        while not _is_whole(said):
            assert select.select([process.stdout], [], [], START_S)[0], "the cloud says nothing"
            piece = os.read(process.stdout.fileno(), 65_536)
            assert piece, "the cloud ended"
            said += piece
        yield json.loads(said)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)
        process.stdout.close()


def _is_whole(said: bytes) -> bool:
    try:
        json.loads(said)
    except ValueError:
        return False
    return True


@contextmanager
def _serving(engines: dict[str, FakeEngine]) -> Iterator[None]:
    """The engines answer, on an event loop in a thread of their own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def run(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(START_S)

    stack = AsyncExitStack()
    try:
        for engine in engines.values():
            run(stack.enter_async_context(engine))
        yield
    finally:
        run(stack.aclose())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture(scope="session")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """Starts Debian's Chromium; a machine without it fails here and says how to get it."""
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.fail("Chromium is not installed: apt-get install chromium chromium-driver")
    started: list[webdriver.Chrome] = []

    def start(*, language: str = "en-US") -> webdriver.Chrome:
        options = webdriver.ChromeOptions()
        options.binary_location = browser
        for flag in [*FLAGS, f"--lang={language}"]:
            options.add_argument(flag)
        options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
        options.add_experimental_option("prefs", {"intl.accept_languages": language})
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        started.append(webdriver.Chrome(options, webdriver.ChromeService(driver)))
        return started[-1]

    yield start
    for one in started:
        one.quit()


@pytest.fixture(scope="session")
def english(chrome: Chrome) -> webdriver.Chrome:
    return chrome()


@pytest.fixture
def page(english: webdriver.Chrome, web: Web) -> Page:
    opened = Page(english, web)
    opened.open()
    return opened
