"""The pages of docs/: their place in the site, their links, what they name, and the commands that they say are run."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from documents import PAGES, ROOT, blocks, prose, read
from shipped import SIZES

from dualtk.system import load

from .conftest import Type

README = ROOT / "README.md"
# Pages whose commands and code other tests run, and those tests.
ELSEWHERE = {
    "adding.md": "test/test_adding.py",
    "api.md": "test/test_recognizer.py",
    "commands.md": "test/docs/test_pages.py",
    "data.md": "test/bin/test_prepare_table.py",
    "export.md": "test/export/test_export.py",
    "papers.md": "test/egs/test_results.py",
    "recognising.md": "test/test_recognizer.py",
    "reference.md": "test/bin/test_config.py",
    "serving.md": "test/serving/test_transcriptions.py",
    "tutorial.md": "test/docs/test_tutorial.py",
}
RUN = [page for page in PAGES if any(block.runs for block in blocks(read(page))) and page.name != "tutorial.md"]
WITH_YAML = [page for page in PAGES if "```yaml" in read(page) and page.name != "adding.md"]
TOPS = ("dualtk", "docs", "egs", "test", "tools", "utils", "examples", "docker")
NAMED = re.compile(rf"`((?:{'|'.join(TOPS)})/[\w./*{{}},-]+)`")
# What a reader or a recipe makes, or a page tells the reader to write.
MADE = re.compile(
    r"egs/\w+/asr1/(exp|data|features|tokens|corpus)\b|dual_cosine|dual_convolutions|frame_cosine|/convolutions"
)


def anchors(text: str) -> set[str]:
    """The places of a page that a link may name, as Python-Markdown and GitHub call them."""
    titles = re.findall(r"^#+ (.*)$", prose(text), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def leaves(tree: object) -> list[str]:
    """The pages of a table of contents."""
    if isinstance(tree, str):
        return [tree]
    return [leaf for one in (tree.values() if isinstance(tree, dict) else tree) for leaf in leaves(one)]


def test_every_page_has_one_place_in_the_site() -> None:
    places = leaves(yaml.safe_load(read(ROOT / "mkdocs.yml"))["nav"])
    assert sorted(places) == [page.name for page in PAGES]


@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(read(page))):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        there = page.parent / path if path else page
        assert there.is_file(), target
        assert not anchor or anchor in anchors(read(there)), target


@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda page: page.name)
def test_files_that_are_named_exist(page: Path) -> None:
    for name in NAMED.findall(read(page)):
        pattern = re.sub(r"\{[^}]*\}", "*", name).rstrip("/.")
        assert MADE.search(name) or list(ROOT.glob(pattern)), name


def test_the_page_of_commands_is_that_of_the_parsers() -> None:
    done = subprocess.run([sys.executable, ROOT / "tools/commands_page.py"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert read(ROOT / "docs/commands.md") == done.stdout


def test_every_page_has_a_command_that_a_test_runs() -> None:
    for page in PAGES:
        if page.name in ELSEWHERE:
            assert (ROOT / ELSEWHERE[page.name]).is_file()
        else:
            assert page in RUN, page.name


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.name)
def test_blocks_that_are_run(page: Path, type_in: Type, tutorial: subprocess.CompletedProcess[str]) -> None:
    """At the place that the tutorial leaves behind."""
    assert tutorial.returncode == 0, tutorial.stderr[-2000:]
    done = type_in([block for block in blocks(read(page)) if block.runs])
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]


@pytest.mark.parametrize("page", WITH_YAML, ids=lambda page: page.name)
def test_what_is_shown_as_yaml_is_a_configuration(page: Path, tmp_path: Path) -> None:
    """By itself where it names its base, else over a method."""
    shutil.copytree(ROOT / "egs/methods", tmp_path, dirs_exist_ok=True)
    for block in blocks(read(page)):
        if block.language == "yaml":
            tree = {"base": "dual_conformer.yaml", **yaml.safe_load(block.text)}
            (tmp_path / "shown.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
            load(tmp_path / "shown.yaml", SIZES["cpu-synthetic"])


def test_spelling() -> None:
    codespell = Path(sys.executable).with_name("codespell")
    done = subprocess.run([codespell, "docs", "README.md", "mkdocs.yml"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    mkdocs = shutil.which("mkdocs", path=Path(sys.executable).parent)
    assert mkdocs is not None
    done = subprocess.run(
        [mkdocs, "build", "--strict", "--site-dir", tmp_path], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "tutorial/index.html").is_file()
