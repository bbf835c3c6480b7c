"""The system's Chromium behind Playwright, in a thread of its own; only given files are loaded.

Playwright and Chromium are extras: `pip install -e '.[browser]'`, and Chromium from the system,
such as `apt-get install chromium`.
"""

import importlib.util
import queue
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)
SIZE = (168, 210)  # of the view, in the page's pixels
FINER = 2  # pixels of the picture to one of the page's
SECONDS = 10.0  # for whatever the browser is asked to do


class BrowserMissing(RuntimeError):
    """Chromium or a package of the extra is not installed."""


def missing() -> str:
    """What is not installed and how to install it; "" where all is there."""
    packages = [name for name in ("playwright", "miniwob") if not importlib.util.find_spec(name)]
    lacks = [f"the package {name}" for name in packages]
    if not any(shutil.which(name) for name in NAMES):
        lacks.append(f"a browser ({', '.join(NAMES)} on PATH)")
    if not lacks:
        return ""
    return (
        f"{' and '.join(lacks)} not found: pip install -e '.[browser]', and Chromium from the "
        "system, such as apt-get install chromium"
    )


class Chromium:
    """A browser that several environments may use; it starts when it is first asked for a page.

    Example:
        with Chromium(root) as browser:
            page = browser.call(browser.new_page).result()

    Attributes:
        blocked: addresses that pages asked for and did not get.
    """

    def __init__(self, root: Path) -> None:
        """Only files below `root` are loaded.

        Raises:
            BrowserMissing: see `missing`.
        """
        if told := missing():
            raise BrowserMissing(told)
        self.blocked: list[str] = []
        self._root = root.resolve()
        self._playwright: Any = None
        self._browser: Any = None
        self._calls: queue.SimpleQueue[Any] = queue.SimpleQueue()
        # A thread that hangs in the browser must not keep the program from ending.
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self) -> "Chromium":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def call(self, function: Callable[..., Any], *args: Any) -> "Future[Any]":
        """Runs a function in the browser's thread, after those that were called before."""
        future: Future[Any] = Future()
        self._calls.put((future, function, args))
        return future

    def close(self) -> None:
        """Ends the browser and the thread."""
        self.call(self._stop).result(SECONDS)
        self._calls.put(None)

    def new_page(self) -> Any:
        """An empty page in a context of its own; starts the browser, again if it has died.

        To be called in the browser's thread, like all that uses a page.
        """
        if self._browser is None or not self._browser.is_connected():
            self._browser = self._launched()
        context = self._browser.new_context(
            viewport={"width": SIZE[0], "height": SIZE[1]},
            device_scale_factor=FINER,
            service_workers="block",
            accept_downloads=False,
        )
        context.set_default_timeout(SECONDS * 1000)
        context.route("**/*", self._route)
        return context.new_page()

    def _route(self, route: Any) -> None:
        """Lets a request for one of the files through and no other."""
        address = route.request.url
        inside = address.startswith(self._root.as_uri() + "/") and ".." not in address
        if inside:
            route.continue_()
        else:
            self.blocked.append(address)
            route.abort()

    def _launched(self) -> Any:
        # An extra: the type check passes without it.
        from playwright.sync_api import sync_playwright  # pyright: ignore[reportMissingImports]

        if self._playwright is None:
            self._playwright = sync_playwright().start()
        path = next(found for name in NAMES if (found := shutil.which(name)))
        return self._playwright.chromium.launch(
            executable_path=path, headless=True, args=list(FLAGS)
        )

    def _stop(self) -> None:
        if self._browser is not None and self._browser.is_connected():
            self._browser.close()
        if self._playwright is not None:
            self._playwright.stop()
        self._browser = self._playwright = None

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            future, function, args = call
            try:
                future.set_result(function(*args))
            except BaseException as problem:
                future.set_exception(problem)
