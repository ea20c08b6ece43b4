"""The value of `--limit`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import click

Limit: TypeAlias = "int | Literal['discover']"

if TYPE_CHECKING:
    _LimitParam = click.ParamType[Limit]
else:
    # Earlier releases of click have no type arguments.
    _LimitParam = click.ParamType


class LimitType(_LimitParam):
    """A number of active tasks from 1 up, or `discover`."""

    name = "limit"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | Literal["discover"]:
        """Return the value; click reports an error for others."""
        if value == "discover":
            return "discover"
        try:
            number = int(str(value))
        except ValueError:
            number = 0
        if number < 1:
            self.fail(f"{value!r} is neither a whole number from 1 up nor 'discover'", param, ctx)
        return number


LIMIT = LimitType()
