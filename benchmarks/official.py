"""BFL's own Python client, `blackforest`, in an environment of its own: it pins a Pillow that ours must not have.

The environment is made on first use, beneath `.cache` beside this file.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from benchmarks.baselines import Job
from benchmarks.server import KEY, START_S

REQUIREMENT = "blackforest==0.1.3"
_FOLDER = Path(__file__).parent / ".cache" / REQUIREMENT.replace("==", "-")
_PYTHON = _FOLDER / "bin" / "python"
_INSTALL_S = 300.0
_installing = threading.Lock()


def why_not() -> str | None:
    """Make the environment if there is none; return why it cannot be made, or None."""
    with _installing:
        return _make()


@lru_cache(maxsize=1)
def _make() -> str | None:
    done = _FOLDER / "done"
    if done.exists() and _PYTHON.exists():
        return None
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(_FOLDER)],
        [str(_PYTHON), "-m", "pip", "install", "-q", "--disable-pip-version-check", REQUIREMENT],
    ):
        try:
            made = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as exc:
            return f"{REQUIREMENT} cannot be installed: {type(exc).__name__}"
        if made.returncode != 0:
            said = (made.stderr or made.stdout).strip().splitlines() or ["pip says nothing"]
            return f"{REQUIREMENT} cannot be installed: {said[-1][:120]}"
    done.touch()
    return None


def run(url: str, jobs: Sequence[Job], slots: int, *, worst_s: float) -> tuple[float, float, float, int]:
    """Run the client's script; return what it measured, in the order of `Measured`.

    Raises:
        RuntimeError: It failed, or was not through after `worst_s` seconds.
    """
    order = {"url": url, "key": KEY, "slots": slots, "jobs": jobs}
    try:
        ended = subprocess.run(
            [str(_PYTHON), "-m", "benchmarks.official_client"],
            input=json.dumps(order),
            capture_output=True,
            text=True,
            timeout=START_S + worst_s,
            cwd=Path(__file__).parent.parent,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"official was not through after {START_S + worst_s:.0f} s") from None
    if ended.returncode != 0:
        raise RuntimeError(f"official failed: {ended.stderr.strip()[-500:]}")
    measured = json.loads(ended.stdout)
    return measured["span_s"], measured["cpu_s"], measured["peak_mb"], 0
