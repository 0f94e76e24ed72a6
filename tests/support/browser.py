"""A real Chromium without a screen, and a real inbox that it looks at."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.support.needs import program
from tests.support.place import Place, eventually
from tests.ui.conftest import PASSWORD

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
)  # fmt: skip


class Browser:
    """Looks at the pages of a place as a person does."""

    def __init__(self, driver: Chrome, place: Place) -> None:
        self.driver = driver
        self.place = place
        self.port = place.settings.admin.address[1] if place.settings.admin.bind else place.port

    def open(self, path: str = "/inbox/") -> None:
        self.driver.get(f"http://127.0.0.1:{self.port}{path}")

    def log_in(self) -> None:
        self.open()
        self.fill("user", "admin")
        self.fill("password", PASSWORD)
        self.press("Log in")
        self.until(lambda: self.driver.current_url.endswith("/inbox/"), "the overview")

    def find(self, css: str, by: str = By.CSS_SELECTOR) -> WebElement:
        """Return the first that is there, soon: between one page and the next there is none."""
        found: list[WebElement] = eventually(lambda: self.driver.find_elements(by, css), f"the page has {css}")
        return found[0]

    def all(self, css: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def fill(self, name: str, text: str) -> None:
        field = self.find(f"[name={name}]")
        field.clear()
        field.send_keys(text)

    def press(self, words: str) -> None:
        """Press the button, or follow the link, that says this."""
        path = f"//button[normalize-space()='{words}'] | //a[normalize-space()='{words}']"
        self._still(lambda: self.find(path, By.XPATH).click())

    def click(self, css: str) -> None:
        """Click on something in a live part, which is left alone as soon as that has the focus."""
        self.driver.execute_script("document.querySelector(arguments[0]).focus()", css)  # type: ignore[no-untyped-call]
        self._still(lambda: self.find(css).click())

    def text(self, css: str = "main") -> str:
        return str(self._still(lambda: self.find(css).text))

    def _still(self, act: Callable[[], Any]) -> Any:
        """Do something with an element; again if it was replaced just then, as live parts of a page are."""
        for _ in range(9):
            with suppress(StaleElementReferenceException):
                return act()
        return act()

    def sees(self, words: str, seconds: float = 30.0) -> None:
        """Wait until the page says this, without loading it again."""
        eventually(lambda: words in self.text("body"), f"the page says {words!r}", seconds)

    def until(self, look: object, what: str) -> None:
        eventually(look, what)  # type: ignore[arg-type]

    def complaints(self) -> list[str]:
        """Return what the browser's console has: blocked scripts, errors."""
        return [entry["message"] for entry in self.driver.get_log("browser")]  # type: ignore[no-untyped-call]


@contextmanager
def chromium(place: Place, profile: Path, *, script: bool = True) -> Iterator[Browser]:
    """Start a Chromium with a new profile, as wide as a desk; without `script` it runs none."""
    options = ChromeOptions()
    options.binary_location = program("chromium", "chromium")
    for flag in (*FLAGS, f"--user-data-dir={profile}", "--window-size=1280,1000"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    if not script:
        options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
    driver = Chrome(options=options, service=ChromeService(program("chromedriver", "chromium-driver")))
    try:
        yield Browser(driver, place)
    finally:
        driver.quit()
