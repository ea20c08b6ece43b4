"""`login`, `logout` and `config`: the stored API key."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from bfl_async._config import UnusableKeyError, check_key, resolve_base_url
from bfl_async.cli.host_options import host_options
from bfl_async.cli.keys import forget_key, host_of_keys, store_key, stored_key
from bfl_async.cli.output import print_line, say
from bfl_async.cli.root import cli
from bfl_async.cli.running import run_command
from bfl_async.runtime.secrets import Secret, conceal

if TYPE_CHECKING:
    from bfl_async.cli.interrupts import Interrupts

_MAX_CHARS = 10_000
# Of a key that is long enough, so many characters tell it from others.
_SHOWN, _TELLING = 4, 16


def _read_key() -> Secret:
    """Ask for a key on a terminal, without showing it; else read it from standard input."""
    if sys.stdin.isatty():
        text = str(
            click.prompt(
                "API key (it is not shown)", hide_input=True, err=True, default="", show_default=False
            )
        )
    else:
        text = sys.stdin.readline(_MAX_CHARS)
    if not text.strip(" \t\r\n\"'"):
        raise UnusableKeyError("no key was given: paste it, or pipe it into this command")
    return check_key(conceal(text), "none was given", source="what was given")


@cli.command()
@click.option("--file", "to_file", is_flag=True, help="Use a file, even if the system has a keyring.")
@click.option("--no-check", is_flag=True, help="Store the key without asking the server whether it is right.")
@host_options
def login(to_file: bool, no_check: bool) -> int:
    """Store your API key, so that commands find it.

    It is asked for, or read from standard input; create one at https://dashboard.bfl.ai. It is stored in the system's
    keyring if the Python package keyring is installed and finds one, else in a file that only you can read. The key of
    the environment, BFL_API_KEY, is always used before it.

    \b
    Examples:
      bfl-async login
      bfl-async login --file < key.txt
    """

    async def work(_: Interrupts) -> int:
        host = host_of_keys()
        key = _read_key()
        if not no_check:
            from bfl_async.cli.clients import balance_of

            say(f"the key is right: the account has {await balance_of(key):g} credits")
        say(f"stored in {store_key(key, host, to_file=to_file)}")
        if os.environ.get("BFL_API_KEY"):
            say("warning: BFL_API_KEY is set, and is used in its place")
        return 0

    return run_command(work)


@cli.command()
def logout() -> int:
    """Remove the API key that `login` has stored.

    \b
    Examples:
      bfl-async logout
      BFL_BASE_URL=https://gateway.example bfl-async logout
    """

    async def work(_: Interrupts) -> int:
        host = host_of_keys()
        say(f"removed the key for {host}" if forget_key(host) else f"no key is stored for {host}")
        return 0

    return run_command(work)


@cli.command()
def config() -> int:
    """Print which key and which host commands use.

    Of the key, the last four characters are shown.

    \b
    Examples:
      bfl-async config
      BFL_BASE_URL=eu bfl-async config
    """

    async def work(_: Interrupts) -> int:
        base_url = resolve_base_url(None, allow_http=False)
        print_line(f"host  {base_url}{' (BFL_BASE_URL)' if os.environ.get('BFL_BASE_URL') else ''}")
        given = conceal(os.environ.get("BFL_API_KEY", ""))
        stored = stored_key(host_of_keys())
        if isinstance(given, str) and given.strip(" \t\r\n\"'"):
            key = check_key(given, "BFL_API_KEY is not set", source="BFL_API_KEY")
            print_line(f"key   {_shown(key)}, of the environment (BFL_API_KEY)")
        elif stored is not None:
            print_line(f"key   {_shown(stored.key)}, of {stored.place}")
        else:
            print_line("key   none: set BFL_API_KEY, or run `bfl-async login`")
        return 0

    return run_command(work)


def _shown(key: str) -> str:
    return f"ends in {key[-_SHOWN:]}" if len(key) >= _TELLING else f"{len(key)} characters"
