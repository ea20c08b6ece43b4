"""The command `bfl-async`: arguments, screens and exit codes; the work is the library's."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import NoReturn

from bfl_async.cli.exit_codes import ExitCode


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code, see `ExitCode`; every error is one line on stderr."""
    if find_spec("click") is None:
        sys.stderr.write("bfl-async needs its command line extra: pip install 'bfl-async[cli]'\n")
        return ExitCode.USAGE
    from bfl_async.cli import app

    return app.invoke(sys.argv[1:] if argv is None else argv)


def run() -> NoReturn:
    """The entry point of the command."""
    sys.exit(main())
