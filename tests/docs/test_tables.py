"""Tables of the documentation can be read by those who hear them."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_each_column_of_a_table_has_a_name(page: Path) -> None:
    """A screen reader reads the column's name before each cell."""
    lines = (ROOT / page).read_text("utf-8").splitlines()
    heads = [head for head, rule in pairwise(lines) if re.fullmatch(r"\|( *:?-+:? *\|)+", rule)]
    assert [head for head in heads if re.search(r"\|\s*\|", head)] == []
