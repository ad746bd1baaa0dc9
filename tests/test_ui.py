"""Dagster's UI in a real browser, served by `dagster dev -w workspace.yaml`: lineage, launchpad, partitions and checks.

After `make run`, while `make dev` runs, `python -m tests.test_ui http://127.0.0.1:3000 .github/lineage.png` takes the
picture that the README shows. It is green where OPTIINFRA_PARTITIONS_START of `make dev` names the window collected.
"""

from __future__ import annotations

import base64
import shutil
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import pytest

from optiinfra_dagster.automation import checks
from optiinfra_dagster.config.customers import FAMILIES
from optiinfra_dagster.lab import CloudLab
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.text import shortened
from optiinfra_dagster.providers.registry import FAMILIES_OF
from tests.support.moved_clock import PROJECT, Process, free_port, until
from tests.support.spine import ACCOUNTS, Spine, world

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

PATIENCE = 90.0
GRAPH = "[data-svg-viewport]"
FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--force-device-scale-factor=1",
    "--window-size=1700,1900",  # of the lineage only what lies in the window is drawn
]  # fmt: skip


class Ui:
    """A browser on Dagster's UI."""

    def __init__(self, driver: Chrome, url: str) -> None:
        self.driver = driver
        self.url = url

    def open(self, path: str) -> None:
        """Go to a page."""
        self.driver.get(self.url + path)

    def find(self, xpath: str) -> WebElement:
        """The first element that is there; waits for it."""
        from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
        from selenium.webdriver.support.wait import WebDriverWait

        wait = WebDriverWait(
            self.driver, PATIENCE, ignored_exceptions=[NoSuchElementException, StaleElementReferenceException]
        )
        found: WebElement = wait.until(
            lambda driver: driver.find_element("xpath", xpath), f"no {xpath}: {self.text[:3000]}"
        )
        return found

    def click(self, xpath: str) -> None:
        """Click an element once it can be clicked."""
        from selenium.common.exceptions import WebDriverException

        def clicked() -> bool:
            try:
                self.find(xpath).click()
            except WebDriverException:
                return False  # it is covered, or was drawn anew
            return True

        until(clicked, PATIENCE, f"a click on {xpath}")

    def see(self, *texts: str) -> None:
        """Wait until the page shows every one of `texts`."""
        seen = ""

        def shown() -> bool:
            nonlocal seen
            seen = self.text
            return all(text in seen for text in texts)

        try:
            until(shown, PATIENCE, f"{texts} on the page")
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{seen[:5000]}") from None

    @property
    def text(self) -> str:
        """What the page shows."""
        return str(self.driver.execute_script("return document.body.innerText"))

    @property
    def drawn(self) -> set[str]:
        """The lines of text in the drawing of the lineage."""
        script = "const graph = document.querySelector(arguments[0]); return graph ? graph.innerText : ''"
        return set(str(self.driver.execute_script(script, GRAPH)).splitlines())


def programs() -> tuple[str, str]:
    """Chromium and its driver; a test skips without them."""
    chromium, driver = (shutil.which(name) for name in ("chromium", "chromedriver"))
    if not (chromium and driver):
        pytest.skip("chromium and chromedriver (Debian packages chromium, chromium-driver) are not installed")
    return chromium, driver


@contextmanager
def browser(url: str) -> Iterator[Ui]:
    """A headless Chromium with a new profile."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    chromium, driver_path = programs()
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        driver = webdriver.Chrome(options=options, service=Service(driver_path))
        try:
            driver.set_page_load_timeout(PATIENCE)
            yield Ui(driver, url)
        finally:
            driver.quit()


@contextmanager
def dagster_dev(folder: Path) -> Iterator[tuple[Spine, str]]:
    """`dagster dev -w workspace.yaml` on a new DAGSTER_HOME, with a lab that refuses initech; the spine and the UI."""
    programs()
    spine = Spine.at(folder / "home")
    shutil.copy(PROJECT / "optiinfra_dagster" / "dagster.yaml", spine.home / "dagster.yaml")
    port = free_port()
    with CloudLab(world()) as lab:
        spine.write_customers(lab)
        lab.control.add_faults({"action": "deny", "account": ACCOUNTS["initech"]})
        with spine.clickhouse.session():
            pass
        now = datetime.now(UTC)
        env = {
            **spine.env,
            **lab.env,
            "OPTIINFRA_PARTITIONS_START": windows.key(windows.floor(now) - 9 * windows.WINDOW),
            "OPTIINFRA_LAG_MINUTES": str((now.minute - 1) % 15),  # the schedule's turn was just before
        }
        command = ["dagster", "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)]
        process = Process([sys.executable, "-m", *command], env, folder / "dev.log")
        url = f"http://127.0.0.1:{port}"
        try:
            until(lambda: process.ended or answers(f"{url}/server_info"), PATIENCE, "the web server")
            assert not process.ended, process.log.read_text()[-4000:]
            yield spine, url
        finally:
            process.stop()


def answers(url: str) -> bool:
    """Whether a web server is there."""
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - of this test's own server
            return True
    except (urllib.error.URLError, OSError):
        return False


@pytest.mark.long
@pytest.mark.timeout(600)
def test_lineage_launchpad_and_a_failing_customer_two_clicks_from_the_first_page(tmp_path: Path) -> None:
    with dagster_dev(tmp_path) as (spine, url), browser(url) as ui:
        ui.open("/asset-groups")
        until(lambda: {*FAMILIES_OF, "readers", "quality"} <= ui.drawn, PATIENCE, "the lineage's groups")
        assert not {*FAMILIES} & ui.drawn
        ui.click("//*[contains(@class, 'collapsedGroupNodeBox')][contains(., 'aws')]")
        until(lambda: {*FAMILIES} <= ui.drawn, PATIENCE, "the group to open")

        # From the asset's page to the launchpad: one partition, two customers, of whom AWS refuses one.
        key = windows.key(windows.floor(datetime.now(UTC)) - windows.WINDOW)
        ui.open("/assets/aws/resource")
        ui.click("//button[contains(., 'Materialize')]/following::button[1]")
        ui.click("//*[text()='Open launchpad']")
        ui.see("Launchpad (configure assets)", "customers: []")
        field = ui.find("//input[@placeholder='Partition']")
        until(
            lambda: ui.driver.execute_script("return arguments[0].disabled", field) is False, PATIENCE, "the partitions"
        )
        ui.driver.execute_script(
            "document.querySelector('.CodeMirror').CodeMirror.setValue(arguments[0])",
            "resources:\n  scope:\n    config:\n      customers: [globex, initech]\n",
        )
        ui.click("//input[@placeholder='Partition']")
        field.send_keys(key)
        ui.click(f"//*[@role='menuitem'][contains(., '{key}')]")
        ui.see("No errors")
        ui.click("//button[normalize-space()='Materialize' and not(@disabled)]")

        instance = dg.DagsterInstance.from_config(str(spine.home))
        finished = dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE])
        until(lambda: instance.get_runs_count(finished), PATIENCE, "the run to end")
        (run,) = (run for run in instance.get_runs(finished) if "dagster/sensor_name" not in run.tags)
        assert run.is_success
        assert run.tags["dagster/partition"] == key
        asked = spine.ledger("resource")
        assert {customer: rows[-1]["outcome"] for customer, rows in asked.items()} == {
            "globex": "ok", "initech": "failed",
        }  # fmt: skip

        # From the first page to the customer that fails, since when and why: two clicks.
        ui.open("/")
        ui.click("//a[contains(., 'aws_collection')]")
        ui.click("//a[contains(., '1 / 2 Passed')]")
        ui.see("every_customer_published", "Failed", "Not published: initech; 2 customers were due.")
        cells = [cell.text for cell in ui.driver.find_elements("xpath", "//tr[td[1][text()='initech']]/td")]
        assert cells == ["initech", "failed, needs a person", key, plain_error(asked["initech"][-1]["error"])]

        ui.open(f"/assets/aws/resource?view=partitions&partition={key}")
        ui.see("dagster/row_count", "rows_written", "api_calls", "customers_failed\n\t\ninitech\n", "outcome", "globex")
        shown = ui.text
        assert "acme" not in shown
        assert f"api_calls\n\t\n{sum(rows[-1]['api_calls'] for rows in asked.values())}\n" in shown
        assert f"dagster/row_count\n\t\n{asked['globex'][-1]['rows']}\n" in shown


def plain_error(text: str) -> str:
    """An error as the check's table has it."""
    return shortened(text, checks.LONGEST_ERROR)


def take_picture(ui: Ui, picture: Path) -> None:
    """Save the lineage as the README shows it: AWS opened, and nothing but the drawing."""
    ui.driver.set_window_size(2000, 1900)
    ui.open("/asset-groups?expanded=global%40global%3Aaws")
    until(
        lambda: {*FAMILIES} <= ui.drawn and not any("fetching" in line or "Loading" in line for line in ui.drawn),
        PATIENCE,
        "the assets' states",
    )
    left, top, right, bottom = ui.driver.execute_script(
        "const graph = document.querySelector(arguments[0]), svg = graph.querySelector('svg');"
        "for (const e of document.body.querySelectorAll('*'))"
        " if (!svg.contains(e) && !e.contains(svg)) e.style.visibility = 'hidden';"
        "const boxes = [...svg.querySelectorAll('foreignObject')].map(e => e.getBoundingClientRect());"
        "return [Math.min(...boxes.map(b => b.left)), Math.min(...boxes.map(b => b.top)),"
        " Math.max(...boxes.map(b => b.right)), Math.max(...boxes.map(b => b.bottom))]",
        GRAPH,
    )
    clip = {"x": left - 20, "y": top - 20, "width": right - left + 40, "height": bottom - top + 40, "scale": 1.4}
    shot = ui.driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", "clip": clip})
    picture.write_bytes(base64.b64decode(shot["data"]))


if __name__ == "__main__":
    with browser(sys.argv[1]) as opened:
        take_picture(opened, Path(sys.argv[2]))
