"""What `doctor` finds out about the stored description of the models."""

from __future__ import annotations

import time

from bfl_async.cli.findings import Finding
from bfl_async.cli.stored_catalog import current_catalog, stored_age_s, stored_problem
from bfl_async.runtime.text import printable

_DAY_S = 24 * 3600.0
_UPDATE = "run bfl-async models --update"


def catalog_finding() -> Finding:
    """Say which models only the stored description knows: their prices are unknown, and a budget cannot count them."""
    age_s = stored_age_s(time.time())
    known = current_catalog(is_quiet=True)
    if age_s is None:
        return Finding("catalog", "ok", f"this release's {len(known)} models; no description is stored")
    if problem := stored_problem():
        return Finding("catalog", "warn", problem, _UPDATE)
    days = int(age_s // _DAY_S)
    stored = f"a description stored {days} day{'' if days == 1 else 's'} ago"
    if not known.described:
        return Finding("catalog", "ok", f"this release has every model of {stored}")
    names = printable(", ".join(known.described))
    return Finding(
        "catalog",
        "warn",
        f"{stored} knows {len(known.described)} that this release does not: {names}",
        "for their prices: pip install -U bfl-async",
    )
