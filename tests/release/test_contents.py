"""What is in the wheel and the sdist."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.release.dist import EXTRAS, PROJECT, ROOT, Dist, run

pytestmark = pytest.mark.release


def tracked(*under: str) -> set[str]:
    """The files that the repository keeps."""
    listed = subprocess.run(["git", "ls-files", *under], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(listed.stdout.splitlines())


def test_wheel_holds_the_package_and_nothing_else(dist: Dist) -> None:
    """Every file of the package, data and py.typed included; no test, no cache; the licence beside the metadata."""
    with zipfile.ZipFile(dist.wheel) as archive:
        names = set(archive.namelist())
        assert archive.testzip() is None
    package = {name for name in names if ".dist-info/" not in name}
    assert package == tracked("bfl_async")
    assert "bfl_async/py.typed" in package
    beside = {name.split(".dist-info/")[1] for name in names - package}
    assert beside == {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}


def test_sdist_holds_all_that_is_tracked(dist: Dist) -> None:
    """Tests, documents and all; only what a checkout alone needs is left out, and nothing stray is in."""
    with tarfile.open(dist.sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    ours = {name for name in tracked() if not name.startswith(".")} | {".gitignore"}
    assert names - {"PKG-INFO"} == ours


def test_sdist_holds_nothing_that_somebody_left_in_the_checkout(tmp_path: Path) -> None:
    """Results, settings with secrets, notes: what the list of the sdist does not name, and what git ignores."""
    for name in tracked():
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "tree" / name)
    strays = [
        "studio-images/x.jpg",
        "worker-local.env",
        "notes.txt",
        "out/run.db",
        "examples/cluster/own.env",
        "a/b.key",
    ]
    for name in strays:
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_text("private")
    done = run(
        [
            sys.executable,
            "-m",
            "build",
            "--sdist",
            "--installer",
            "uv",
            "--outdir",
            str(tmp_path),
            str(tmp_path / "tree"),
        ]
    )
    assert done.returncode == 0, done.stderr
    (sdist,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    assert not names & {*strays}
    assert names - {"PKG-INFO"} == {name for name in tracked() if not name.startswith(".")} | {".gitignore"}


def test_sdist_and_source_tree_build_the_same_wheel(dist: Dist, tmp_path: Path) -> None:
    """Byte for byte: the wheel of `dist` was built from the sdist."""
    done = run(
        [sys.executable, "-m", "build", "--wheel", "--installer", "uv", "--outdir", str(tmp_path), str(ROOT)]
    )
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(dist.wheel) as one, zipfile.ZipFile(tmp_path / dist.wheel.name) as other:
        assert one.namelist() == other.namelist()
        assert {name: one.read(name) for name in one.namelist()} == {
            name: other.read(name) for name in other.namelist()
        }


def test_metadata_says_what_the_project_says(dist: Dist) -> None:
    """Name, licence, Python, extras, and the README as the page's text."""
    metadata = dist.metadata()
    assert metadata["Name"] == PROJECT["name"]
    assert metadata["License-Expression"] == PROJECT["license"]
    assert metadata["Requires-Python"] == PROJECT["requires-python"]
    assert set(metadata.get_all("Provides-Extra", [])) == set(EXTRAS)
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert str(metadata.get_payload()).strip() == (ROOT / "README.md").read_text("utf-8").strip()
