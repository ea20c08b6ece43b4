"""What the project promises about itself is what CI checks."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.docs.pages import ROOT

GITHUB = ROOT / ".github"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

pytestmark = pytest.mark.skipif(not GITHUB.is_dir(), reason="a source distribution has no .github")


def classified(prefix: str) -> set[str]:
    found = (each.partition(prefix) for each in PROJECT["classifiers"])
    return {name for _, prefixed, name in found if prefixed}


def test_classifiers_name_the_systems_and_versions_that_ci_tests() -> None:
    """No more, and no fewer."""
    workflow = (GITHUB / "workflows" / "ci.yml").read_text("utf-8")
    assert "bash .ci/run" in workflow
    versions = set(re.findall(r"^ +(3\.\d+)$", workflow, re.MULTILINE))
    others = set(re.findall(r'"(3\.\d+)"', (ROOT / "noxfile.py").read_text("utf-8")))
    oldest = PROJECT["requires-python"].removeprefix(">=")
    assert {each for each in classified("Python :: ") if "." in each} == versions == {oldest} | others
    assert {each.partition("-")[0] for each in re.findall(r"runs-on: (\S+)", workflow)} == {"ubuntu"}
    assert classified("Operating System :: ") == {"POSIX :: Linux"}


def test_reports_of_faults_come_with_the_doctors_output() -> None:
    """It names versions and settings, and no secret."""
    form = (GITHUB / "ISSUE_TEMPLATE" / "fault.yml").read_text("utf-8")
    asked = form.partition("Output of `bfl-async doctor --json`")[2]
    assert "required: true" in asked.partition("  - type:")[0]


def test_the_checklist_of_a_pull_request_is_short() -> None:
    """A long one is ticked without being read."""
    lines = (GITHUB / "pull_request_template.md").read_text("utf-8").splitlines()
    assert 1 <= len(lines) <= 5
    assert all(line.startswith("- [ ] ") for line in lines)


def test_dependencies_and_actions_are_updated() -> None:
    text = (GITHUB / "dependabot.yml").read_text("utf-8")
    assert set(re.findall(r"package-ecosystem: (\S+)", text)) == {"pip", "github-actions"}
