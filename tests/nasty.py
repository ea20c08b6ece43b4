"""Foreign text of every kind that could do harm where it is shown, and the check that none of it does."""

from __future__ import annotations

import re

NASTY = [
    "line one\nline two\r\nWARNING bfl_async: forged",
    "\x1b]0;owned\x07 title",
    "\x1b]52;c;aGk=\x07 clipboard",
    "\x1b[2J\x1b[H cleared",
    "\x9b31m a C1 control, \x85 and \x90 more",
    "\u202egnp.exe\u202c reversed",
    "\u2066isolated\u2069 \u200f\u200e\u061c marks",
    "\u2028separator\u2029",
    "half a pair \ud83e, and the other \udd8a",
    "\x00 nul \x7f del \x08\x08 back",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "[bold red]markup[/bold red] {braces} %s %(name)s",
    "\ufeffmark \u2060joiner \U000e0041\U000e0042 tags",
    "x" * 1_000_000,
]
"""Each goes through every place where foreign text is shown."""

RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What may stand in nothing that is shown. Line ends and tabs are judged where one line is promised."""
