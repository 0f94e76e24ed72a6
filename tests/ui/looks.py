"""What a page looks like on a phone, and to who cannot see it, asked in a real Chromium."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.browser import Browser

PHONE = 390
"""Pixels."""

_SIDEWAYS = """
const wide = document.documentElement.clientWidth, found = [];
if (document.documentElement.scrollWidth > wide) found.push(`page ${document.documentElement.scrollWidth}`);
for (const one of document.querySelectorAll('a, button, input, select, summary')) {
  const box = one.getBoundingClientRect();
  if (!one.checkVisibility({ visibilityProperty: true }) || box.width === 0 || one.closest('.skip, .sr')) continue;
  let around = one.parentElement;
  while (around && !/auto|scroll/.test(getComputedStyle(around).overflowX)) around = around.parentElement;
  if (around || (box.left >= 0 && box.right <= wide + 0.5)) continue;
  found.push(`${one.tagName} ${one.textContent.slice(0, 40)} ${box.left} ${box.right}`);
}
return found;
"""


@contextmanager
def narrow(browser: Browser) -> Iterator[None]:
    """Look at the pages with a phone."""
    phone = {"width": PHONE, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    try:
        yield
    finally:
        browser.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def sideways(browser: Browser) -> list[str]:
    """Return what makes the page scroll sideways, and the controls that are out of sight without that."""
    return list(browser.driver.execute_script(_SIDEWAYS))
