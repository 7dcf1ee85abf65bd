"""Every page of the built site in a browser: accessible, readable, and from this machine alone.

`make docs-check` runs it. It needs Chromium or Chrome; without one, the pages are skipped. The
notebooks of the gallery run, too.
"""

import functools
import http.server
import json
import shutil
import sys
import threading
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

SITE = Path(__file__).parent / "_build" / "html"
PAGES = sorted(
    str(page.relative_to(SITE)) for page in SITE.rglob("*.html") if "_static" not in page.parts
)
BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)

EXAMPLES = Path(__file__).parents[1] / "examples"
NOTEBOOKS = Path(__file__).parent / "auto_examples"

in_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def address():
    handler = functools.partial(Quiet, directory=SITE)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, address):
    """A function that opens a page, and collects what is requested elsewhere or not found."""
    context = browser.new_context()
    problems = []
    context.on(
        "request",
        lambda request: request.url.startswith((address, "data:")) or problems.append(request.url),
    )
    context.on(
        "response",
        lambda response: response.ok or problems.append(f"{response.status} {response.url}"),
    )
    tab = context.new_page()
    tab.on("pageerror", lambda error: problems.append(str(error)))

    def open_page(page, *, theme="light", width=1_280):
        context.add_init_script(
            f"localStorage.setItem('mode', '{theme}'); localStorage.setItem('theme', '{theme}');"
        )
        tab.set_viewport_size({"width": width, "height": 900})
        tab.goto(address + page, wait_until="networkidle")
        return tab

    yield open_page
    context.close()
    assert problems == []


def test_the_site_was_built():
    assert {"index.html", "api.html", "theory.html"} <= set(PAGES)


@in_browser
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_accessible(visit, page, theme):
    tab = visit(page, theme=theme)
    assert tab.evaluate("document.documentElement.dataset.theme") == theme
    # Without preload: axe would ask for style sheets that others import, at wrong addresses.
    result = Axe().run(tab, options={"preload": False})
    assert result.violations_count == 0, result.generate_report()


@in_browser
@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_readable_on_a_phone(visit, page):
    tab = visit(page, width=400)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 400


@in_browser
@pytest.mark.parametrize("page", PAGES)
def test_formulas_are_drawn(visit, page):
    tab = visit(page)
    n_formulas = tab.locator(".math").count()
    if n_formulas:
        tab.wait_for_function(
            "n => document.querySelectorAll('mjx-container').length >= n", arg=n_formulas
        )
    assert tab.locator("mjx-merror").count() == 0


def code_of(notebook):
    """The code cells of a notebook, without the commands that only Jupyter knows."""
    for cell in json.loads(notebook.read_text())["cells"]:
        if cell["cell_type"] == "code":
            lines = "".join(cell["source"]).splitlines()
            yield "\n".join(line for line in lines if not line.startswith("%"))


@pytest.mark.parametrize("name", ["plot_digits", "plot_own_images"])
def test_a_notebook_runs(name, monkeypatch, tmp_path):
    # In small: few images, one epoch.
    monkeypatch.syspath_prepend(EXAMPLES)
    import _datasets

    from skvae import ConvVAETransformer

    digits = _datasets.load("mnist")
    few = digits._make([digits.name, *(values[:300] for values in digits[1:])])
    train = ConvVAETransformer.fit
    monkeypatch.setattr(_datasets, "load", lambda source: few)
    monkeypatch.setattr(
        ConvVAETransformer, "fit", lambda self, X, y=None: train(self.set_params(max_iter=1), X)
    )
    monkeypatch.setitem(sys.modules, "ipykernel", sys)  # as in Jupyter
    monkeypatch.setattr(sys, "argv", ["ipykernel_launcher.py", "-f", "kernel.json"])
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    namespace = {"__name__": "__main__"}
    for code in code_of(NOTEBOOKS / f"{name}.ipynb"):
        exec(compile(code, name, "exec"), namespace)
    assert plt.get_fignums()
    plt.close("all")
