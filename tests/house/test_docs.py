"""The pages: no dead links, no commands that do not exist, no placeholders."""

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from conftest import HAS_CALLBACKS

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / ".github").glob("*.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "guide").glob("*.md")),
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_files_exist(page):
    text = page.read_text()
    assert "@@" not in text
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert (page.parent / target).exists(), target
    for target in re.findall(r"`((?:docs|tests|examples|skvae)/[\w./]+\.\w+)`", text):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_targets_exist(page):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert {"demo", "test", "lint", "help"} <= targets
    assert set(re.findall(r"\bmake ([a-z]+(?:-[a-z]+)*)", commands(page))) <= targets


def commands(page):
    """What stands in code, where `make` is the command and not the verb."""
    blocks = re.findall(r"```[^\n]*\n(.*?)```|`([^`\n]+)`", page.read_text(), re.S)
    return "\n".join(block or inline for block, inline in blocks)


def linked_pages():
    """README and all pages that can be reached from it: what a reader of GitHub sees."""
    pages, new = set(), {ROOT / "README.md"}
    while new:
        pages |= new
        links = [
            (page.parent / target).resolve()
            for page in new
            for target in re.findall(r"\]\(([^)#:]+\.md)", page.read_text())
        ]
        new = set(links) - pages
    return sorted(pages)


def test_all_pages_but_those_of_the_site_are_linked():
    site = {ROOT / "docs" / name for name in ("index.md", "api.md")}
    assert {page for page in PAGES if page.parent.name != ".github"} - site <= set(linked_pages())


@pytest.mark.parametrize("page", linked_pages(), ids=lambda page: page.name)
def test_linked_pages_are_plain_markdown(page):
    # No roles, no directives, no labels of Sphinx, and no backslash that GitHub's Markdown would
    # take out of a formula within a line, as that of a thin space.
    text = page.read_text()
    assert re.findall(r"\{[\w:+-]+\}`", text) == []
    assert re.findall(r"^ *(?:`{3,}|~{3,}) *\{[\w-]+\}", text, re.M) == []
    assert re.findall(r"^ *:{3,}|^\([\w-]+\)=$|^ *\.\. [\w-]+::", text, re.M) == []
    prose = re.sub(r"```.*?^\s*```|`[^`]*`", "", text, flags=re.M | re.S)
    assert "$$" not in prose
    for formula in re.findall(r"\$([^$]+)\$", prose):
        assert not re.search(r"\\[^A-Za-z]", formula), formula


def test_a_changelog_line_for_every_public_name():
    import skvae

    changelog = (ROOT / "docs" / "changelog.md").read_text()
    for name in set(skvae.__all__) - {"__version__"}:
        assert name in changelog, name


def test_the_citation_is_of_this_version():
    import skvae

    citation = (ROOT / "CITATION.cff").read_text()
    assert re.findall(r"^version: (.*)$", citation, re.M) == [skvae.__version__]
    assert re.search(r"^date-released: \d{4}-\d\d-\d\d$", citation, re.M)


def test_the_lowest_versions_are_those_that_are_tested():
    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "constraints-lowest.txt").read_text().splitlines()
    tested = dict(line.split("==") for line in lines if "==" in line)
    table = (ROOT / "docs" / "reliability.md").read_text()
    for requirement in map(Requirement, project["dependencies"]):
        (bound,) = requirement.specifier
        assert bound.operator == ">="
        assert re.search(rf"^\| {requirement.name} \| {bound.version} \|", table, re.M | re.I)
        if requirement.name != "torch":  # whose lowest brings gigabytes of GPU packages
            assert f"{tested[requirement.name]}.".startswith(f"{bound.version}.")


def blocks_of(page):
    """The code of a page that runs, block by block."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S)


PAGES_WITH_CODE = [page for page in PAGES if blocks_of(page)]


def test_there_is_code_to_run():
    names = {page.name for page in PAGES_WITH_CODE}
    assert {"README.md", "index.md", "start.md", "file-format.md", "images.md"} <= names


@pytest.mark.parametrize("page", PAGES_WITH_CODE, ids=lambda page: page.name)
@pytest.mark.usefixtures("close_figures")
def test_python_code_runs(page, whole_start, digits, small, tmp_path, monkeypatch):
    from PIL import Image
    from sklearn.model_selection import GridSearchCV

    from skvae import ConvVAEClassifier, ConvVAECluster, ConvVAETransformer

    # The blocks of the page, one after the other, on small data and for few epochs.
    images, labels = digits[0][:80], digits[1][:80]
    monkeypatch.chdir(tmp_path)
    small.save("model.skvae")
    for kind in ("arrow", "star"):
        Path("drawings", kind).mkdir(parents=True)
        for i in range(12):
            pixels = np.random.default_rng(i).integers(0, 256, (20, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(f"drawings/{kind}/{i}.png")

    def made_small(train):
        def fit(self, X, y=None):
            return train(self.set_params(max_iter=1, hidden_channels=(4,), hidden_units=8), X, y)

        return fit

    for cls in (ConvVAEClassifier, ConvVAECluster, ConvVAETransformer):
        monkeypatch.setattr(cls, "fit", made_small(cls.fit))
    namespace = {"images": images, "held_out": images[:20], "labels": labels, "np": np}
    if page.name == "callbacks.md" and not HAS_CALLBACKS:
        with pytest.raises(ImportError, match=r"sklearn\.callback"):
            exec(blocks_of(page)[0], namespace)
        return
    for block in blocks_of(page):
        exec(compile(block, page.name, "exec"), namespace)
    if page.name == "README.md":
        search = namespace["search"]
        assert isinstance(search, GridSearchCV)
        search.set_params(cv=2, error_score="raise").fit(images.reshape(80, 64), labels)
