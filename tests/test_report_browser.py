"""The report in a real browser: sorting, filtering, no error on the console, no request that leaves the file."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from serbench.results.display.table import Cell, Table
from serbench.results.report.page import Section, page

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--enable-logging=stderr",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
ROWS = (("beta", 0.9, "<b>bold</b>"), ("alpha", 0.1, "x"), ("gamma", -0.5, "y"), ("delta", float("nan"), "z"))
SELF_TEST = """
<script>
const table = document.getElementById("t-one");
const names = () => [...table.tBodies[0].rows].filter(r => !r.hidden).map(r => r.cells[0].textContent);
const click = i => table.querySelectorAll("th button")[i].click();
const type = (id, text) => {
  const field = document.getElementById(id); field.value = text; field.dispatchEvent(new Event("input"));
};
const found = {start: names()};
click(0); found.by_name = names();
click(1); found.up = names();
click(1); found.down = names();
found.aria = [...table.querySelectorAll("th")].map(th => th.getAttribute("aria-sort"));
type("search", "A z"); found.filtered = names(); found.status = document.getElementById("status").textContent;
type("search", ""); found.cleared = names().length;
type("section", "two"); found.hidden = [...document.querySelectorAll("section")].map(s => s.hidden);
found.wide = document.documentElement.scrollWidth > innerWidth;
found.resources = performance.getEntriesByType("resource").length;
document.body.innerHTML = ""; document.body.textContent = "FOUND" + JSON.stringify(found) + "END";
</script>
"""


@pytest.fixture(scope="module")
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not found:
        pytest.skip("there is no chromium on this machine")
    return found


def html_page() -> str:
    rows = [{"model": name, "UAR": Cell(f"{v:.2f}", v), "note": note} for name, v, note in ROWS]
    one = Table("one", rows, name="t-one", kind="leaderboard")
    two = Table("two", rows[:1], name="t-two", kind="leaderboard")
    return page("t & t", [Section("one", "One", tables=[one]), Section("two", "Two", tables=[two])])


def visit(chromium: str, folder: Path, text: str, size: str = "1200,900") -> tuple[str, list[str], list[str]]:
    """Load a page; returns its final DOM, the console's lines, and the addresses of all requests but the page's own."""
    file, log = folder / "page.html", folder / "net.json"
    file.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [
            chromium,
            *FLAGS,
            f"--user-data-dir={folder / 'profile'}",
            f"--log-net-log={log}",
            f"--window-size={size}",
            "--dump-dom",
            file.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout, console, requests(log)


def requests(log: Path) -> list[str]:
    """Addresses that the page asked for, from the browser's network log; what the browser asks for itself has no
    page as its initiator."""
    found = set()
    for line in log.read_text(encoding="utf-8").splitlines():
        start = re.search(r'"params":(\{.*\}),"phase"', line)
        facts = json.loads(start[1]) if start and '"initiator"' in line else {}
        if facts.get("url") and facts["initiator"] != "not an origin":
            found.add(str(facts["url"]))
    return sorted(url for url in found if not url.startswith(("file:", "data:")))


@pytest.mark.parametrize("size", ["1200,900", "500,800"])
def test_sorting_filtering_and_silence(chromium: str, tmp_path: Path, size: str) -> None:
    dom, console, asked = visit(chromium, tmp_path, html_page().replace("</body>", SELF_TEST + "</body>"), size)
    found = json.loads(dom.split("FOUND")[1].split("END")[0])
    assert found["start"] == ["beta", "alpha", "gamma", "delta"]
    assert found["by_name"] == ["alpha", "beta", "delta", "gamma"]
    assert found["up"] == ["gamma", "alpha", "beta", "delta"]  # an undefined score is last in both directions
    assert found["down"] == ["beta", "alpha", "gamma", "delta"]
    assert found["aria"] == [None, "descending", None]
    assert found["filtered"] == ["delta"]
    assert found["status"] == "1 of 5 leaderboard rows"
    assert found["cleared"] == 4
    assert found["hidden"] == [True, False]
    assert (found["resources"], found["wide"]) == (0, False)
    assert console == []
    assert asked == []


def test_the_page_forbids_what_would_leave_it(chromium: str, tmp_path: Path) -> None:
    bad = '<img src="http://127.0.0.1:9/left.png"><script>console.error("seen")</script></body>'
    _, console, asked = visit(chromium, tmp_path, html_page().replace("</body>", bad))
    assert any("seen" in line for line in console)  # the console is read
    assert any("Content Security Policy" in line for line in console)
    assert asked == []
    (tmp_path / "open").mkdir()
    free = re.sub(r"<meta http-equiv.*", "", html_page()).replace("</body>", bad)
    _, _, asked = visit(chromium, tmp_path / "open", free)
    assert "http://127.0.0.1:9/left.png" in asked  # the network log is read
