"""Tasks that `submit` has made: how they are printed, and read again by `result`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from bfl_async.batch.records import recorded_fields
from bfl_async.cli.files import InputError
from bfl_async.types.common import JSON

_MAX_BYTES = 32 * 2**20
# No task costs as much; NaN is not below it.
_MOST_CREDITS = 1_000_000


@dataclass(frozen=True, slots=True)
class Submitted:
    """A task that goes on at the server.

    Attributes:
        task_id: The server's id.
        polling_url: As it was received. None: that of the base URL.
        model: None if it is not known.
        cost: In credits, as the server stated it. None if it is not known.
        fields: The request's, as a ledger keeps them. None if they are not known.
    """

    task_id: str
    polling_url: str | None = None
    model: str | None = None
    cost: float | None = None
    fields: Mapping[str, JSON] | None = None

    def facts(self) -> dict[str, object]:
        """Return what is printed as JSON."""
        fields = recorded_fields(self.fields or {})
        return {
            "task_id": self.task_id,
            "polling_url": self.polling_url,
            "model": self.model,
            "cost": self.cost,
            "fields": fields,
        }


def read_submitted() -> list[Submitted]:
    """Return the tasks that standard input names: ids, or what `submit --json` has printed, one per line.

    Raises:
        InputError: It names none, or a line is neither.
    """
    try:
        data = sys.stdin.buffer.read(_MAX_BYTES + 1)
    except OSError as exc:
        raise InputError(f"cannot read standard input: {exc.strerror}") from exc
    if len(data) > _MAX_BYTES:
        raise InputError(f"standard input is longer than {_MAX_BYTES} bytes")
    lines = enumerate(data.splitlines(), 1)
    found = [_read_line(line.strip(), number) for number, line in lines if line.strip()]
    if not found:
        raise InputError("standard input names no task: pipe what `submit` prints into it")
    return found


def _read_line(line: bytes, number: int) -> Submitted:
    try:
        text = line.decode("utf-8")
        given = json.loads(text) if text.startswith("{") else {"task_id": text}
    except (ValueError, RecursionError) as exc:
        raise InputError(
            f"line {number} of standard input is neither a task's id nor JSON of `submit`"
        ) from exc
    task_id, polling_url = given.get("task_id"), given.get("polling_url")
    model, fields = given.get("model"), given.get("fields")
    if not isinstance(task_id, str) or not task_id:
        raise InputError(f"line {number} of standard input names no task: it has no task_id")
    return Submitted(
        task_id,
        polling_url if isinstance(polling_url, str) else None,
        model if isinstance(model, str) else None,
        _cost_in(given.get("cost")),
        fields if isinstance(fields, dict) else None,
    )


def _cost_in(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < _MOST_CREDITS else None
