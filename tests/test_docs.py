"""The pages: no dead links, no commands that do not exist, no placeholders."""

import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / ".github" / "SECURITY.md",
    *sorted((ROOT / "docs").glob("*.md")),
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
    blocks = re.findall(r"```\w*\n(.*?)```|`([^`\n]+)`", page.read_text(), re.S)
    return "\n".join(block or inline for block, inline in blocks)


def test_a_changelog_line_for_every_public_name():
    import skvae

    changelog = (ROOT / "docs" / "changelog.md").read_text()
    for name in set(skvae.__all__) - {"__version__"}:
        assert name in changelog, name


BLOCKS = [
    (page, block)
    for page in PAGES
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S)
]


def test_there_is_code_to_run():
    assert {"README.md", "file-format.md"} <= {page.name for page, _ in BLOCKS}


@pytest.mark.parametrize(("page", "block"), BLOCKS, ids=lambda value: getattr(value, "name", ""))
def test_python_code_runs(page, block, digits, small, tmp_path, monkeypatch):
    from sklearn.model_selection import GridSearchCV

    from skvae import ConvVAEClassifier, ConvVAETransformer

    # The code of the page, on small data and for few epochs.
    images, labels = digits[0][:80], digits[1][:80]
    monkeypatch.chdir(tmp_path)
    small.save("model.skvae")

    def made_small(train):
        def fit(self, X, y=None):
            return train(self.set_params(max_iter=1, hidden_channels=(4,), hidden_units=8), X, y)

        return fit

    for cls in (ConvVAEClassifier, ConvVAETransformer):
        monkeypatch.setattr(cls, "fit", made_small(cls.fit))
    namespace = {"images": images, "held_out": images[:20], "labels": labels, "np": np}
    exec(compile(block, page.name, "exec"), namespace)
    if "search" in namespace:
        assert isinstance(namespace["search"], GridSearchCV)
        namespace["search"].set_params(cv=2, error_score="raise").fit(
            images.reshape(80, 64), labels
        )
