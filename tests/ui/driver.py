"""A person at the Dagster UI: opens pages, reads texts, types configuration, and keeps a picture of what is seen."""

from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

# Long enough for a machine with other work to do; on a quiet one a page takes seconds and a run twenty.
RUN_SECONDS = 900
PAGE_SECONDS = 180
expect.set_options(timeout=PAGE_SECONDS * 1000)


@dataclass
class Person:
    """One browser tab at `address`. Pictures go to `pictures`; `elsewhere` are requests to any other host."""

    page: Page
    address: str
    pictures: Path
    elsewhere: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(PAGE_SECONDS * 1000)
        self.page.on("request", lambda request: self._note(request.url))

    def _note(self, url: str) -> None:
        host = self.address.split("//")[1]
        if not url.startswith(("data:", "blob:")) and url.split("//")[-1].split("/")[0] != host:
            self.elsewhere.append(url)

    def open(self, path: str) -> None:
        self.page.goto(self.address + path)

    def picture(self, name: str, of: Locator | None = None) -> None:
        """Keeps what is seen, the whole page or one element."""
        self.pictures.mkdir(parents=True, exist_ok=True)
        (of or self.page).screenshot(path=self.pictures / f"{name}.png")

    def sees(self, text: str | Locator, seconds: float = PAGE_SECONDS) -> Locator:
        """Waits until a text (the whole of an element's) or an element can be seen."""
        found = self.page.get_by_text(text, exact=True) if isinstance(text, str) else text
        expect(found.first).to_be_visible(timeout=seconds * 1000)
        return found.first

    def write_configuration(self, configuration: str) -> None:
        """Replaces what the editor on top holds by one line of YAML."""
        self.page.locator(".CodeMirror").last.click()
        self.page.keyboard.press("Control+a")
        self.page.keyboard.insert_text(configuration)

    def open_launchpad(self, asset: str) -> Locator:
        """The Launchpad of an asset; a shift-click on Materialize opens it."""
        self.open(f"/assets/{asset}")
        self.sees("Latest materialization")
        self.page.get_by_role("button", name="Materialize").first.click(modifiers=["Shift"])
        self.sees("Launchpad (configure assets)")
        self.sees("No errors")
        launchpad = self.page.get_by_role("dialog").last
        expect(launchpad.get_by_role("button", name="Materialize")).to_be_enabled()
        return launchpad

    def launch(self, button: Locator) -> None:
        """Starts a run by the button of a Launchpad; the page of the run follows."""
        self.sees("No errors")
        expect(button).to_be_enabled()
        button.click()
        self.page.wait_for_url("**/runs/*")

    def switch_on(self) -> None:
        """Turns the switch on the page of a sensor or a schedule."""
        switch = self.page.locator("label").filter(has=self.page.get_by_role("checkbox"))
        expect(switch.get_by_role("checkbox")).not_to_be_checked()
        switch.click()
        expect(switch.get_by_role("checkbox")).to_be_checked()

    def card(self, title: str) -> str:
        """What an asset's page says below a title, such as Row count."""
        self.sees(title)
        return str(self.page.get_by_text(title, exact=True).first.locator("xpath=../..").inner_text())
