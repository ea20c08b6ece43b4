"""`--header`, `--query` and `--trusted-host`: what a host beside BFL's needs, for every command that asks the API.

They are kept in click's context, so that commands which only pass them on need not know of them. `BFL_HEADERS` and
`BFL_QUERY` say the same in the environment, where neither the list of processes nor a shell's history shows a token.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar
from urllib.parse import parse_qsl

import click

from bfl_async.errors import ConfigError
from bfl_async.runtime.secrets import Secret
from bfl_async.transport.options import check_headers, check_query

_Command = TypeVar("_Command", bound=Callable[..., object])
_HEADERS, _QUERY, _HOSTS = "bfl_async.headers", "bfl_async.query", "bfl_async.trusted_hosts"
# What a server takes as headers at most.
_MOST_CHARS = 16_384


class HostOptions(NamedTuple):
    """What a command knows of the host at the base URL. The values may be secrets, and are concealed."""

    headers: dict[str, str] | None = None
    query: dict[str, str] | None = None
    trusted_hosts: tuple[str, ...] = ()


NO_HOST_OPTIONS = HostOptions()


def host_options(command: _Command) -> _Command:
    """Add the options."""
    headers = click.option(
        "--header", multiple=True, metavar="'NAME: VALUE'", expose_value=False, callback=_keep_headers,
        help="Send a header to BFL_BASE_URL with each call. Repeatable.  [env: BFL_HEADERS, one per line]",
    )  # fmt: skip
    query = click.option(
        "--query", multiple=True, metavar="NAME=VALUE", expose_value=False, callback=_keep_query,
        help="Add a parameter to the URL of each call to BFL_BASE_URL. Repeatable.  "
        "[env: BFL_QUERY, such as a=1&b=2]",
    )  # fmt: skip
    hosts = click.option(
        "--trusted-host", multiple=True, metavar="HOST", expose_value=False, callback=_keep_hosts,
        help="A host that may get the key as well, as that of a gateway's polling URLs. Repeatable.",
    )  # fmt: skip
    return headers(query(hosts(command)))


def host_of_command() -> HostOptions:
    """Return what was given to the command that runs, and what the environment has beside it.

    Raises:
        ConfigError: What the environment has cannot be used. No value is shown.
    """
    given = _given()
    headers = _environment_headers()
    for name in given.headers or {}:
        # A name counts in any case.
        headers = {each: value for each, value in headers.items() if each.lower() != name.lower()}
    query = {**_environment_query(), **(given.query or {})}
    return HostOptions({**headers, **(given.headers or {})} or None, query or None, given.trusted_hosts)


def refuse_host_options() -> None:
    """Refuse the options where the host is not theirs; the environment's are left out there, as BFL_BASE_URL is.

    Raises:
        click.UsageError: One was given.
    """
    if any(_given()):
        raise click.UsageError("--header, --query and --trusted-host are of a host, and --sandbox uses none")


def _given() -> HostOptions:
    context = click.get_current_context(silent=True)
    meta = {} if context is None else context.meta
    return HostOptions(meta.get(_HEADERS), meta.get(_QUERY), meta.get(_HOSTS, ()))


def _headers_in(lines: Iterable[str], source: str) -> dict[str, str]:
    """Return headers of the form `Name: value`; no message shows more of them than a name that is one."""
    headers: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        name, _, value = line.partition(":")
        name, value = name.strip(), Secret(value.strip())
        # Without its value it was not quoted, and the value is another argument.
        if not (name and value):
            raise ConfigError(f"{source}: number {number} is not 'NAME: VALUE'")
        if name.lower() in (each.lower() for each in headers):
            raise ConfigError(f"{source}: number {number} has the name of an earlier one")
        headers[name] = value
    return dict(check_headers(headers, source=source))


def _environment_headers() -> dict[str, str]:
    text = _environment("BFL_HEADERS")
    return _headers_in((line for line in text.splitlines() if line.strip()), "BFL_HEADERS")


def _environment_query() -> dict[str, str]:
    text = _environment("BFL_QUERY")
    if not text:
        return {}
    try:
        pairs = parse_qsl(text.removeprefix("?"), keep_blank_values=True, strict_parsing=True)
    except ValueError:
        raise ConfigError("BFL_QUERY is not NAME=VALUE, with & between several") from None
    query = {name: Secret(value) for name, value in pairs}
    if len(query) < len(pairs):
        raise ConfigError("BFL_QUERY has a name twice")
    check_query(query)
    return dict(query)


def _environment(name: str) -> str:
    text = Secret(os.environ.get(name, "").strip())
    if len(text) > _MOST_CHARS:
        raise ConfigError(f"{name} has more than {_MOST_CHARS} characters")
    return text


def _keep_headers(context: click.Context, _: click.Parameter, values: Sequence[str]) -> None:
    try:
        headers = _headers_in(values, "--header")
    except ConfigError as exc:
        raise click.UsageError(str(exc), context) from None
    if headers:
        # A group and its command may both have some.
        context.meta[_HEADERS] = {**context.meta.get(_HEADERS, {}), **headers}


def _keep_query(context: click.Context, param: click.Parameter, values: Sequence[str]) -> None:
    query: dict[str, str] = {}
    for number, text in enumerate(values, 1):
        name, separator, value = text.partition("=")
        # A value may be a secret, and is not shown.
        if not (separator and name):
            raise click.BadParameter(f"number {number} is not NAME=VALUE", context, param)
        if name in query:
            raise click.BadParameter(f"number {number} has the name of an earlier one", context, param)
        query[name] = Secret(value)
    if query:
        context.meta[_QUERY] = {**context.meta.get(_QUERY, {}), **query}


def _keep_hosts(context: click.Context, _: click.Parameter, values: Sequence[str]) -> None:
    if values:
        context.meta[_HOSTS] = (*context.meta.get(_HOSTS, ()), *values)
