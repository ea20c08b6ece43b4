"""Builds once a process, and finds the sandbox that installed code talks to."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.release.dist import ROOT, Dist, run


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Dist:
    """The sdist of the source tree, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    done = run([sys.executable, "-m", "build", "--installer", "uv", "--outdir", str(folder), str(ROOT)])
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = folder.glob("*.whl")
    (sdist,) = folder.glob("*.tar.gz")
    return Dist(wheel, sdist)


@pytest.fixture(scope="session")
def sandbox() -> Iterator[dict[str, str]]:
    """The variables that name a sandbox in another process, of this environment and not of the one that is tested."""
    with subprocess.Popen(
        [sys.executable, "-m", "bfl_async", "sandbox", "--speed", "20"], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        yield dict(server.stdout.readline().strip().removeprefix("export ").split("=", 1) for _ in range(2))
        server.terminate()
