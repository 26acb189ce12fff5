"""The version stands in one way everywhere, and what is said of it is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from dualtk import __version__
from dualtk.config import FORMAT, WRITTEN_BY

ROOT = Path(__file__).resolve().parents[1]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
VERSIONS = (ROOT / "docs/versions.md").read_text(encoding="utf-8")
SETUP = (ROOT / "setup.py").read_text(encoding="utf-8")
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))


def test_the_changelog_begins_with_this_version_and_what_it_breaks() -> None:
    sections = re.split(r"^## ", CHANGELOG, flags=re.M)[1:]
    assert sections[0].startswith(__version__)
    assert "### Breaking" in sections[0]


def test_the_citation_names_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()


def test_every_format_is_explained() -> None:
    written_by = {*WRITTEN_BY, FORMAT}
    assert written_by == set(range(1, FORMAT + 1))
    for number in written_by:
        assert re.search(rf"^\| {number} \|", VERSIONS, re.M)
    assert f"this is dualtk {__version__}, which reads {FORMAT}" in VERSIONS


def test_every_extra_is_explained() -> None:
    block = SETUP.split("EXTRAS = {")[1].split("\n}")[0]
    extras = set(re.findall(r'^    "(\w+)": \[', block, re.M))
    assert {"demo", "plots", "tensorboard", "export", "microphone"} <= extras
    assert set(re.findall(r"^\| `dualtk\[(\w+)\]`", VERSIONS, re.M)) == extras


def test_needed_packages_are_those_of_the_page() -> None:
    block = SETUP.split("install_requires=[")[1].split("]")[0]
    needed = set(re.findall(r'"([\w-]+)[>=]', block))
    (line,) = re.findall(r"^\| needed beside torch \| (.*) \|$", VERSIONS, re.M)
    assert set(line.split(", ")) == needed - {"torch"}


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.13", "3.14"])
def test_the_workflow_runs_on_the_versions_that_are_named(version: str) -> None:
    assert version in str(WORKFLOW["jobs"])
    assert version in VERSIONS


def test_the_workflow_does_what_ci_does() -> None:
    steps = [step.get("run", "") for job in WORKFLOW["jobs"].values() for step in job["steps"]]
    assert "bash .ci/run" in steps
    targets = re.findall(r"make ([\w./-]+)", "\n".join(steps))
    made = (ROOT / "Makefile").read_text(encoding="utf-8").replace("$(VENV)", ".venv")
    assert targets
    for target in targets:
        assert re.search(rf"^{re.escape(target)}:", made, re.M)
