"""The script that runs in the official client's environment: one client a thread, one thread a slot.

It reads its order from standard input and writes what it measured to standard output, both JSON. The client's own
settings: it polls once at once, then each second; what it prints at each poll goes to the null device.
"""

import contextlib
import importlib
import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.process import Meter


def run(order: dict[str, Any], jobs: Sequence[tuple[str, dict[str, object]]]) -> float:
    """Run the jobs; return the moment of the last result."""
    blackforest = importlib.import_module("blackforest.client")
    config = importlib.import_module("blackforest.types.general.client_config").ClientConfig(sync=True)
    queue = iter(jobs)
    lock = threading.Lock()
    errors: list[BaseException] = []
    ends: list[float] = []

    def work() -> None:
        try:
            client = blackforest.BFLClient(order["key"], base_url=order["url"])
            # Without the environment's proxies and ~/.netrc, as the guide's loop beside it.
            client.session.trust_env = False
            while True:
                with lock:
                    job = next(queue, None)
                if job is None:
                    return
                client.generate(job[0], job[1], config)
                ends.append(time.monotonic())
        except BaseException as exc:
            errors.append(exc)  # raised below, by the thread that waits

    threads = [threading.Thread(target=work) for _ in range(min(order["slots"], len(jobs)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return max(ends)


def main() -> None:
    """Run the warm-up, then the rest."""
    order = json.load(sys.stdin)
    importlib.import_module("blackforest.client")
    meter = Meter()
    with open(os.devnull, "w") as null, contextlib.redirect_stdout(null):
        run(order, order["jobs"][:1])
        meter.restart()
        last_at = run(order, order["jobs"][1:])
    measured = {
        "span_s": last_at - meter.started_at,
        "cpu_s": meter.cpu_s(),
        "peak_mb": meter.peak_mb(),
    }
    sys.stdout.write(json.dumps(measured))


if __name__ == "__main__":
    main()
