"""`python -m bfl_async` is the command `bfl-async`."""

from __future__ import annotations

from bfl_async.cli import run

if __name__ == "__main__":
    run()
