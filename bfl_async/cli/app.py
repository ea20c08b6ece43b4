"""The whole command line: the group, and the modules whose commands it has."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

from bfl_async.cli import account, batches, generating, login, running, serving
from bfl_async.cli.catalog import estimate, models
from bfl_async.cli.jobs import enqueue, jobs, worker_command
from bfl_async.cli.root import cli

# Importing one of these adds its commands to the group.
MODULES: tuple[ModuleType, ...] = (generating, batches, account, login, serving)

cli.add_command(models)
cli.add_command(estimate)
cli.add_command(enqueue)
cli.add_command(worker_command)
cli.add_command(jobs)


def invoke(argv: Sequence[str]) -> int:
    """Run the command line and return its exit code."""
    return running.invoke(cli, argv)


__all__ = ["MODULES", "cli", "invoke"]
