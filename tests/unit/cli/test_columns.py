"""Tables at three widths: columns, wrapped columns, and blocks."""

from __future__ import annotations

import pytest

from bfl_async.cli.columns import table_lines

HEAD = ("model", "for", "notes")
ROWS = [("flux-a-long-name-of-a-model", "images of many sizes", "the default"), ("b", "videos", "")]


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        (
            None,
            """model                        for                   notes
flux-a-long-name-of-a-model  images of many sizes  the default
b                            videos""",
        ),
        (
            80,
            """model                        for                   notes
flux-a-long-name-of-a-model  images of many sizes  the default
b                            videos""",
        ),
        (
            58,
            """model                        for               notes
flux-a-long-name-of-a-model  images of many    the default
                             sizes
b                            videos""",
        ),
        (
            40,
            """flux-a-long-name-of-a-model
  for: images of many sizes; notes: the
  default
b
  for: videos""",
        ),
    ],
)
def test_table_takes_the_form_that_fits(columns: int | None, text: str) -> None:
    """No cell is cut."""
    assert "\n".join(table_lines(HEAD, ROWS, columns)) == text
