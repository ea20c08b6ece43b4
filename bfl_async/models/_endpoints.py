"""Which names are models, and which lead to other endpoints of the account.

A name may come from outside: from a row, or from a user of an application. It chooses a model and nothing else: what
deletes a finetune or reports usage is reached by the client's methods and by `post()` alone.
"""

from __future__ import annotations

import re
from typing import NoReturn

from bfl_async.errors import InvalidRequestError
from bfl_async.models.catalog import CATALOG
from bfl_async.runtime.text import printable

NO_TASK = {
    "credits": "credits()",
    "delete_finetune": "delete_finetune()",
    "finetune": "post()",
    "finetune_details": "finetune_details()",
    "get_result": "attach()",
    "my_finetunes": "finetunes()",
}
"""Endpoints that make no image or video, each with the client's method for it."""

_NO_TASK_FOLDERS = {"licenses": "report_usage()"}

# The first parts of names such as `flux-tools/erase-v1`.
_FOLDERS = frozenset(name.partition("/")[0] for name in CATALOG if "/" in name)

_SHAPE = r"[a-z0-9][a-z0-9._-]*(/[a-z0-9._-]+)*"


def check_model_name(name: object, *, is_foreign: bool = False) -> str:
    """Return the name of a model, known or not.

    Args:
        is_foreign: Somebody else chose it, so it is also refused below a folder in which no model is known.
    Raises:
        InvalidRequestError: It is not one: it has the wrong shape, or leads to an endpoint that makes no task.
    """
    checked = check_name(name)
    check_makes_task(checked)
    folder, slash, _ = checked.partition("/")
    if is_foreign and slash and folder not in _FOLDERS:
        _refuse(
            printable(checked, 60), "is below a folder in which no model is known: use the client's post()"
        )
    return checked


def check_makes_task(name: str) -> None:
    """Check that an endpoint is a model's, as far as that is known.

    Raises:
        InvalidRequestError: It is another one.
    """
    if name in CATALOG:
        return
    folder = name.partition("/")[0]
    method = _NO_TASK_FOLDERS.get(folder) or NO_TASK.get(folder)
    if method is not None:
        _refuse(printable(name, 60), f"makes no image or video: use the client's {method}")


def check_name(name: object) -> str:
    """Return the name of an endpoint.

    Raises:
        InvalidRequestError: It has the wrong shape. Names become part of a URL, so nothing else may stand in them.
    """
    if not isinstance(name, str):
        _refuse(type(name).__name__)
    if (
        len(name) > 200
        or not re.fullmatch(_SHAPE, name)
        or any(part in (".", "..") for part in name.split("/"))
    ):
        _refuse(printable(name, 60))
    return name


def _refuse(shown: str, problem: str = "") -> NoReturn:
    problem = problem or "is not a model name: it is the path after /v1/, such as 'flux-pro-1.1'"
    raise InvalidRequestError(f"'{shown}' {problem}", errors=[("model", problem)])
