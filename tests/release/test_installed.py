"""The wheel in a fresh environment, alone and with each of its extras."""

from __future__ import annotations

import re
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest

from tests.release.dist import EXTRAS, ROOT, VERSIONS, Dist, interpreter, make_environment

pytestmark = pytest.mark.release

BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
SMOKES = {
    "images": """
        import io
        from PIL import Image
        with open("in.png", "wb") as file:
            Image.new("RGB", (320, 256)).save(file, "PNG")
        async with AsyncBFL() as bfl:
            given = Image.open("in.png")
            result = await bfl.generate("flux-2-pro", prompt="a cat", input_image=given)
            Image.open(io.BytesIO(await result.read())).load()
    """,
    "redis": """
        from bfl_async import LimiterError
        from bfl_async.limiter import RedisLimiter
        from bfl_async.webhooks import RedisRelay
        RedisRelay("redis://127.0.0.1:1")
        try:
            async with RedisLimiter("redis://127.0.0.1:1") as limiter, AsyncBFL(limiter=limiter):
                pass
        except LimiterError:
            pass  # nobody listens there
    """,
}


def program(body: str) -> str:
    """A program whose main coroutine has that body."""
    text = textwrap.indent(textwrap.dedent(body).strip("\n") or "pass", "    ")
    return f"import asyncio\nfrom bfl_async import AsyncBFL\nasync def main():\n{text}\nasyncio.run(main())\n"


@pytest.mark.parametrize("version", VERSIONS)
def test_wheel_alone_runs_the_example_of_the_readme(
    dist: Dist, sandbox: dict[str, str], tmp_path: Path, version: str
) -> None:
    """The library without extras, against a sandbox in another process, on each Python that it is said to run on."""
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} on this machine")
    made = make_environment(tmp_path / "venv", python, str(dist.wheel))
    (tmp_path / "example.py").write_text(program(BLOCKS[0]))
    done = made.run("python", "-W", "error", "example.py", cwd=tmp_path, variables=sandbox)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "python-cat.jpg").stat().st_size > 1000


def test_command_without_its_extra_says_what_to_install(dist: Dist, tmp_path: Path) -> None:
    """One line, exit code 2; also as a module."""
    made = make_environment(tmp_path / "venv", sys.executable, str(dist.wheel))
    for argv in (["bfl-async", "--help"], ["python", "-m", "bfl_async"]):
        done = made.run(*argv, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == "bfl-async needs its command line extra: pip install 'bfl-async[cli]'\n"


@pytest.mark.parametrize("extra", EXTRAS)
def test_extra_alone_works(dist: Dist, sandbox: dict[str, str], tmp_path: Path, extra: str) -> None:
    """Each brings all that its part needs: the command, a limiter, or the integration of its name."""
    made = make_environment(tmp_path / "venv", sys.executable, f"{dist.wheel}[{extra}]")
    with zipfile.ZipFile(dist.wheel) as archive:
        has_integration = f"bfl_async/integrations/{extra}.py" in archive.namelist()
    body = SMOKES.get(extra, f"import bfl_async.integrations.{extra}" if has_integration else "")
    (tmp_path / "smoke.py").write_text(program(body))
    done = made.run("python", "smoke.py", cwd=tmp_path, variables=sandbox)
    assert done.returncode == 0, done.stderr
    if extra in ("cli", "all"):
        assert made.run("bfl-async", "--help", cwd=tmp_path).returncode == 0
        done = made.run("bfl-async", "generate", "a cat", "-o", "cat.jpg", cwd=tmp_path, variables=sandbox)
        assert (done.returncode, done.stdout, done.stderr) == (0, "cat.jpg\n", "")
