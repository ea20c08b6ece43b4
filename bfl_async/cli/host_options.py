"""`--query` and `--trusted-host`: what a host beside BFL's needs, for every command that asks the API.

They are kept in click's context, so that commands which only pass them on need not know of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., object])
_QUERY, _HOSTS = "bfl_async.query", "bfl_async.trusted_hosts"


class HostOptions(NamedTuple):
    """What the command line says of the host at the base URL."""

    query: dict[str, str] | None
    trusted_hosts: tuple[str, ...]

    @property
    def are_given(self) -> bool:
        """True if it says anything."""
        return bool(self.query or self.trusted_hosts)


def host_options(command: _Command) -> _Command:
    """Add the options."""
    query = click.option(
        "--query", multiple=True, metavar="NAME=VALUE", expose_value=False, callback=_keep_query,
        help="Add a parameter to the URL of each call to BFL_BASE_URL. Repeatable.",
    )  # fmt: skip
    hosts = click.option(
        "--trusted-host", multiple=True, metavar="HOST", expose_value=False, callback=_keep_hosts,
        help="A host that may get the key as well, as that of a gateway's polling URLs. Repeatable.",
    )  # fmt: skip
    return query(hosts(command))


def given_host_options() -> HostOptions:
    """Return what was given to the command that runs."""
    context = click.get_current_context(silent=True)
    meta = {} if context is None else context.meta
    return HostOptions(meta.get(_QUERY), meta.get(_HOSTS, ()))


def _keep_query(context: click.Context, param: click.Parameter, values: Sequence[str]) -> None:
    query: dict[str, str] = {}
    for number, text in enumerate(values, 1):
        name, separator, value = text.partition("=")
        # A value may be a secret, and is not shown.
        if not (separator and name):
            raise click.BadParameter(f"number {number} is not NAME=VALUE", context, param)
        if name in query:
            raise click.BadParameter(f"number {number} has the name of an earlier one", context, param)
        query[name] = value
    if query:
        # A group and its command may both have some.
        context.meta[_QUERY] = {**context.meta.get(_QUERY, {}), **query}


def _keep_hosts(context: click.Context, _: click.Parameter, values: Sequence[str]) -> None:
    if values:
        context.meta[_HOSTS] = (*context.meta.get(_HOSTS, ()), *values)
