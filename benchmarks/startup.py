"""What starting costs: the import with a first use of the client, and the command's `--help`.

    python -m benchmarks.startup             # 25 processes of each kind, about 40 s
    python -m benchmarks.startup --runs 100

CPU time of whole processes, user and system: they wait for nothing, so it is what they take on an idle machine,
and a busy one disturbs it. A disturbance only adds, so the fastest of each kind are compared; medians are shown
beside them. The kinds are run in turn. The bytecode is cached, as after an installation.

    python      `python -c pass`
    imports     `import aiohttp, pydantic`: of pydantic next to nothing, its names come on first use
    both used   a model of one field made, a session opened and closed: what any program with the two pays
    first use   `import bfl_async`, a request made, a client opened and closed
    help        `python -m bfl_async --help`

Expected:

    first use <= 1.15 x both used
    help      <= 10 x python, which is 0.2 s where python takes 0.02 s

The exit code is 1, and a line says why, where it is not so.
"""

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.report import aligned

RUNS = 25
MOST_FIRST_USE = 1.15
MOST_HELP = 10.0

_FIRST_USE = """\
import asyncio
from bfl_async import AsyncBFL, request
async def main():
    request("flux-pro-1.1", prompt="a cat")
    async with AsyncBFL("a-key", base_url="http://127.0.0.1:9"):
        pass
asyncio.run(main())
"""

_BOTH_USED = """\
import asyncio
import aiohttp, pydantic
class Request(pydantic.BaseModel):
    prompt: str
async def main():
    Request(prompt="a cat")
    async with aiohttp.ClientSession():
        pass
asyncio.run(main())
"""

KINDS: dict[str, list[str]] = {
    "python": ["-c", "pass"],
    "imports": ["-c", "import aiohttp, pydantic"],
    "both used": ["-c", _BOTH_USED],
    "first use": ["-c", _FIRST_USE],
    "help": ["-m", "bfl_async", "--help"],
}


_BYTECODE = Path(__file__).parent / ".cache" / "bytecode"


def measure(runs: int) -> dict[str, list[float]]:
    """Return the CPU seconds of each run by kind; a run before them fills the caches."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(_BYTECODE)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for number in range(runs + 1):
        for kind, arguments in KINDS.items():
            used_s = _cpu_s([sys.executable, *arguments], environment)
            if number > 0:
                seconds[kind].append(used_s)
    return seconds


def _cpu_s(command: list[str], environment: dict[str, str]) -> float:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, command)
    return used.ru_utime + used.ru_stime


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"of each kind; default: {RUNS}")
    seconds = measure(max(2, parser.parse_args(argv).runs))
    fastest = {kind: min(values) for kind, values in seconds.items()}
    lines = [["kind", "fastest ms", "median ms", "slowest ms", "x python"]]
    lines += [
        [
            kind,
            *(f"{value * 1_000:.0f}" for value in (min(values), statistics.median(values), max(values))),
            f"{fastest[kind] / fastest['python']:.1f}",
        ]
        for kind, values in seconds.items()
    ]
    first_use = fastest["first use"] / fastest["both used"]
    of_help = fastest["help"] / fastest["python"]
    sys.stdout.write(
        f"{aligned(lines, texts=1)}\n\nfirst use / both used = {first_use:.2f}, "
        f"help / python = {of_help:.1f}\n"
    )
    faults = [
        f"not as expected: {what} {value:.2f}, at most {most:g}"
        for what, value, most in (
            ("first use / both used", first_use, MOST_FIRST_USE),
            ("help / python", of_help, MOST_HELP),
        )
        if value > most
    ]
    sys.stdout.writelines(line + "\n" for line in faults)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
