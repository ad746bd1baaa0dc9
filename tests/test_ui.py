"""Dagster's UI in a real browser, served by `dagster dev -w workspace.yaml`: lineage, launchpad, a partition's page.

`OPTIINFRA_LINEAGE_PICTURE=.github/lineage.png make test` also takes the picture that the README shows.
"""

from __future__ import annotations

import os
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

from optiinfra_dagster import windows
from optiinfra_dagster.assets.collection import IMPLEMENTED
from optiinfra_dagster.lab import CloudLab
from tests.automation.moved_clock import PROJECT, Process, free_port, until
from tests.spine import Spine, world

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

PATIENCE = 90.0
FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--force-device-scale-factor=1",
    "--window-size=1700,1150",
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
        until(lambda: all(text in self.text for text in texts), PATIENCE, f"{texts} on the page")

    def collapsed(self) -> list[WebElement]:
        """The groups of the lineage that are drawn as one box."""
        return list(self.driver.find_elements("xpath", "//*[contains(@class, 'collapsedGroupNodeContainer')]"))

    @property
    def text(self) -> str:
        """What the page shows."""
        return str(self.driver.execute_script("return document.body.innerText"))


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
    """`dagster dev -w workspace.yaml` on a new DAGSTER_HOME, with the lab; gives the spine and the UI's address."""
    programs()
    spine = Spine.at(folder / "home")
    shutil.copy(PROJECT / "optiinfra_dagster" / "dagster.yaml", spine.home / "dagster.yaml")
    port = free_port()
    with CloudLab(world()) as lab:
        spine.write_customers(lab)
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


def take_picture(ui: Ui, picture: Path) -> None:
    """Save the lineage as the README shows it: AWS opened, without the controls that lie over it."""
    ui.open("/asset-groups?expanded=global%40global%3Aaws")
    until(lambda: "performance" in ui.text and "Loading" not in ui.text, PATIENCE, "the assets' states")
    ui.driver.execute_script(
        "const graph = document.querySelector('[data-svg-viewport] svg');"
        "for (const e of document.body.querySelectorAll('*'))"
        " if (!graph.contains(e) && !e.contains(graph)) e.style.visibility = 'hidden'"
    )
    picture.parent.mkdir(exist_ok=True)
    ui.find("//*[@data-svg-viewport]").screenshot(str(picture))


@pytest.mark.long
@pytest.mark.timeout(400)
def test_lineage_launchpad_and_partition_page(tmp_path: Path) -> None:
    with dagster_dev(tmp_path) as (spine, url), browser(url) as ui:
        ui.open("/asset-groups")
        ui.see("Global asset lineage", *IMPLEMENTED, "readers")
        assert len(ui.collapsed()) == len(IMPLEMENTED) + 2  # the readers, and the golden set
        ui.click("//*[contains(@class, 'collapsedGroupNodeBox')][contains(., 'aws')]")
        # It opens; what stands in it is shown or not, by how far the page zooms out.
        until(lambda: len(ui.collapsed()) == len(IMPLEMENTED) + 1, PATIENCE, "the group to open")

        if "OPTIINFRA_LINEAGE_PICTURE" in os.environ:
            take_picture(ui, Path(os.environ["OPTIINFRA_LINEAGE_PICTURE"]))

        # From the asset's page to the launchpad: one partition, one customer.
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
            "resources:\n  scope:\n    config:\n      customers: [globex]\n",
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
        assert set(spine.ledger("resource")) == {"globex"}

        ui.open(f"/assets/aws/resource?view=partitions&partition={key}")
        ui.see("dagster/row_count", "rows_written", "api_calls", "customers", "outcome", "globex")
        shown = ui.text
        assert "acme" not in shown
        (row,) = spine.ledger("resource")["globex"]
        assert f"api_calls\n\t\n{row['api_calls']}\n" in shown
        assert f"dagster/row_count\n\t\n{row['rows']}\n" in shown
