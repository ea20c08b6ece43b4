"""The command `bfl-async`: arguments, screens and exit codes; the work is the library's.

Exit codes: 0 done; 1 failed; 2 wrong usage or invalid request; 3 some of a batch failed; 4 the key or the
credits; 5 moderated; 130 and 143 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; every error is one line on stderr."""
    try:
        import click  # noqa: F401 - only looked for: the commands import it themselves
    except ImportError:
        sys.stderr.write("bfl-async needs its command line extra: pip install 'bfl-async[cli]'\n")
        return 2
    from bfl_async.cli.app import invoke

    return invoke(sys.argv[1:] if argv is None else argv)


def run() -> NoReturn:
    """The entry point of the command."""
    sys.exit(main())
