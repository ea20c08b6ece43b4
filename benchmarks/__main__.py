"""How well a client uses its slots: one table, a row a scenario and client.

    python -m benchmarks                                   # everything, about half an hour
    python -m benchmarks --scenario flux1,klein --rounds 3
    python -m benchmarks --client handwritten,ours --scenario flux1 --tasks 240 --seed 7
    python -m benchmarks --quick                           # a check that it runs, under 30 s
    python -m benchmarks --write                           # also writes docs/benchmarks.md and its plot

What is measured and how stands in `docs/benchmarks.md`, the figures that are expected in
`benchmarks/expected.py`: they hold for a scenario's own number of tasks and more, and with fewer nothing is judged.
The exit code is 1, and a line says why, where one of them is not reached. Raw results go to `benchmarks/results/`.
"""

import argparse
import json
import secrets
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.clients import CLIENTS
from benchmarks.expected import judge
from benchmarks.measure import QUICK_TASKS, SCENARIOS, measure_all, summarise
from benchmarks.plot import svg
from benchmarks.report import page, parameters, raw, table, verdict

_ROOT = Path(__file__).parent.parent


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    def names(known: Sequence[str]) -> Callable[[str], list[str]]:
        def parse(text: str) -> list[str]:
            chosen = list(known) if text == "all" else [name.strip() for name in text.split(",")]
            for name in chosen:
                if name not in known:
                    raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
            return list(dict.fromkeys(chosen))

        return parse

    def positive(text: str) -> int:
        if (number := int(text)) < 1:
            raise argparse.ArgumentTypeError(f"{number} is not positive")
        return number

    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "--scenario", type=names([*SCENARIOS]), help=f"of {','.join(SCENARIOS)}; default: all"
    )
    parser.add_argument("--client", type=names([*CLIENTS]), help=f"of {','.join(CLIENTS)}; default: all")
    parser.add_argument("--tasks", type=positive, help="a round; default: each scenario's own number")
    parser.add_argument("--rounds", type=positive, default=1, help="each with draws of its own; default: 1")
    parser.add_argument("--seed", type=int, help="of the service times; default: drawn anew")
    parser.add_argument("--one-by-one", action="store_true", help="never two clients at the same time")
    parser.add_argument("--quick", action="store_true", help=f"klein, {QUICK_TASKS} tasks: it runs at all")
    parser.add_argument(
        "--write", action="store_true", help="write docs/benchmarks.md and docs/benchmarks.svg"
    )
    arguments = parser.parse_args(argv)
    if arguments.quick:
        arguments.scenario = arguments.scenario or ["klein"]
        arguments.tasks = arguments.tasks or QUICK_TASKS
    arguments.scenario = arguments.scenario or [*SCENARIOS]
    arguments.client = arguments.client or [*CLIENTS]
    if arguments.seed is None:
        arguments.seed = secrets.randbelow(1_000_000)
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the parameters and the table, and judge."""
    given = sys.argv[1:] if argv is None else list(argv)
    arguments = _arguments(given)
    facts = parameters(arguments.seed, arguments.rounds, one_by_one=arguments.one_by_one)
    sys.stdout.write(", ".join(f"{name} {value}" for name, value in facts.items()) + "\n")
    sys.stdout.flush()
    runs = measure_all(
        [SCENARIOS[name] for name in arguments.scenario],
        [CLIENTS[name] for name in arguments.client],
        tasks=arguments.tasks,
        rounds=arguments.rounds,
        seed=arguments.seed,
        one_by_one=arguments.one_by_one,
        report=_report,
    )
    rows = summarise(runs)
    judged = judge(rows)
    spread = "" if arguments.rounds == 1 else "; mean and standard deviation over the rounds"
    sys.stdout.write(f"\n{table(rows)}\n\nspans and lag by the wall clock, CPU by process time{spread}\n")
    for line in verdict(judged):
        sys.stdout.write(line + "\n")
    if not judged:
        sys.stdout.write("nothing is judged: the expected figures are for more tasks, or for other clients\n")

    results = _ROOT / "benchmarks" / "results"
    results.mkdir(exist_ok=True)
    file = results / f"{time.strftime('%Y%m%d-%H%M%S')}-{arguments.seed}.json"
    file.write_text(json.dumps({"parameters": facts, "runs": [raw(run) for run in runs]}) + "\n", "utf-8")
    _report(f"raw results: {file.relative_to(_ROOT)}")
    if arguments.write:
        seed = [] if any(word.startswith("--seed") for word in given) else ["--seed", str(arguments.seed)]
        command = shlex.join(["python", "-m", "benchmarks", *given, *seed])
        docs = _ROOT / "docs"
        text = page(rows, judged, facts, date=time.strftime("%Y-%m-%d"), command=command)
        (docs / "benchmarks.md").write_text(text, "utf-8")
        (docs / "benchmarks.svg").write_text(svg(rows), "utf-8")
    return 0 if all(each.reached for each in judged) else 1


def _report(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
