"""The pages: no dead links, no commands that do not exist, no placeholders."""

import re
from pathlib import Path

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
