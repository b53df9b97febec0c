"""The page in a real browser, as a person meets it."""

import html
import json
import re
import shutil
import subprocess

import pytest

from sentiment_tf.reporting import report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium to open the page in")]

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--allow-file-access-from-files",  # so that a page in a frame may tell the page around it
    "--enable-logging=stderr",
]

# Runs in a copy of the page, in a frame as wide as a phone (a window cannot be that narrow); what it finds is
# read from the DOM that Chromium prints.
MEASURE = """
<script>
addEventListener("load", () => {
  document.querySelectorAll("details").forEach(element => element.open = true);
  const wide = [...document.querySelectorAll("body *")]
    .filter(element => element.getBoundingClientRect().right > innerWidth + 0.5)
    .map(element => element.tagName + " " + element.textContent.slice(0, 40));
  const found = {
    width: innerWidth,
    page: document.documentElement.scrollWidth,
    wide,
    paper: getComputedStyle(document.body).backgroundColor,
    title: document.title,
  };
  parent.document.body.dataset.found = JSON.stringify(found);
});
</script>
"""


@pytest.fixture(scope="module")
def folder(run, rows, words, tmp_path_factory):
    """The page as written, and a copy that may run scripts: our own, and any that a text smuggled in."""
    folder = tmp_path_factory.mktemp("browser")
    report.write(folder / "report.html", run=run, rows=rows, words=words)
    page = (folder / "report.html").read_text(encoding="utf-8")
    copy = re.sub(r'<meta http-equiv="Content-Security-Policy".*?>', "", page)
    assert copy != page
    (folder / "measured.html").write_text(copy.replace("</body>", MEASURE + "</body>"), encoding="utf-8")
    return folder


def visit(page, profile, *more):
    """Opens a page; returns (its DOM when loaded, what the browser logged)."""
    command = [
        CHROMIUM,
        *FLAGS,
        f"--user-data-dir={profile}",
        "--dump-dom",
        *more,
    ]
    done = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, done.stderr


def measured(folder, profile, *more, width):
    """Returns what the script above finds in a frame of that many pixels."""
    around = folder / f"around-{width}.html"
    around.write_text(f'<iframe src="measured.html" width="{width}" height="900" style="border: 0"></iframe>')
    dom, _ = visit(around, profile, "--window-size=1300,1000", *more)
    return json.loads(html.unescape(re.search(r'data-found="(.*?)"', dom).group(1)))


def test_loads_without_console_messages_and_runs_nothing(folder, tmp_path):
    dom, log = visit(folder / "report.html", tmp_path)
    assert "CONSOLE" not in log, log
    title = re.search("<title>(.*?)</title>", dom).group(1)
    assert title.startswith("films: ")
    assert dom.count("<svg") == 11


def test_fits_a_phone(folder, tmp_path):
    found = measured(folder, tmp_path, width=375)
    assert found["width"] == 375
    assert found["wide"] == []
    assert found["page"] <= 375


def test_an_injected_script_stays_text_even_where_scripts_may_run(folder, tmp_path):
    found = measured(folder, tmp_path, width=1200)
    assert found["title"].startswith("films: ")
    assert found["wide"] == []


@pytest.mark.parametrize(("scheme", "paper"), [(1, "rgb(246, 247, 249)"), (0, "rgb(17, 20, 24)")])
def test_follows_the_colour_scheme(folder, tmp_path, scheme, paper):
    found = measured(folder, tmp_path, f"--blink-settings=preferredColorScheme={scheme}", width=1200)
    assert found["paper"] == paper
