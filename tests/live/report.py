"""The report: one table of what was found, in Markdown, so that it can be pasted into an issue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.live.exchanges import Difference

_MAX_CELL = 160
_HEAD = ("", "check", "what", "at the API", "at the sandbox")


@dataclass
class Finding:
    """What one check found.

    Attributes:
        rows: All its answers at both, those on the wire only where they differ.
        not_tried: Why it was not tried, if it was not.
    """

    rows: Sequence[Difference] = field(default_factory=list)
    not_tried: str = ""

    @property
    def different(self) -> list[Difference]:
        """The rows that differ."""
        return [row for row in self.rows if row.api != row.sandbox]


def report(found: Mapping[str, Finding], spent_usd: float) -> list[str]:
    """Return the report's lines: what differs, then what does not, then what was not tried."""
    rows = [
        ("differs" if differs else "same", check, row.what, row.api, row.sandbox)
        for differs in (True, False)
        for check, finding in found.items()
        for row in finding.rows
        if (row.api != row.sandbox) is differs
    ]
    rows += [
        ("not tried", check, finding.not_tried, "", "")
        for check, finding in found.items()
        if finding.not_tried
    ]
    count = sum(len(finding.different) for finding in found.values())
    lines = [_line(row) for row in (_HEAD, ("---",) * len(_HEAD), *rows)]
    return [
        *lines,
        "",
        f"{count} of {len(rows)} rows differ; {spent_usd:.4f} USD by the server's own figures",
    ]


def _line(row: Sequence[object]) -> str:
    return f"| {' | '.join(_cell(value) for value in row)} |"


def _cell(value: object) -> str:
    text = " ".join(str(value).split()).replace("|", "\\|")
    return text if len(text) <= _MAX_CELL else f"{text[: _MAX_CELL - 1]}…"
