"""The drawings of the architecture show what there is, and nothing covers anything else."""

from __future__ import annotations

import itertools
from xml.etree import ElementTree

import pytest

from benchmarks.house import FOLDER
from tests.docs.pages import ROOT

DRAWINGS = ROOT / "docs" / "explanation"
SVG = "{http://www.w3.org/2000/svg}"


def read(name: str) -> ElementTree.Element:
    return ElementTree.fromstring((DRAWINGS / name).read_text("utf-8"))


def test_every_folder_of_the_package_is_in_the_drawing_of_the_layout() -> None:
    """`python docs/generate.py` draws it anew; test_promises.py finds one that is stale."""
    drawn = {each.text for each in read("layout.svg").iter(f"{SVG}text")}
    folders = {each.parent.name for each in FOLDER.glob("*/__init__.py")}
    assert folders - drawn == set()


@pytest.mark.parametrize("name", ["layout.svg", "request.svg"])
def test_boxes_lie_side_by_side_within_the_picture(name: str) -> None:
    """No box is cut off, and none covers another, whatever folders there are."""
    picture = read(name)
    left, top, width, height = map(float, picture.attrib["viewBox"].split())
    boxes = [
        (
            float(box.attrib["x"]),
            float(box.attrib["y"]),
            float(box.attrib["width"]),
            float(box.attrib["height"]),
        )
        for box in picture.iter(f"{SVG}rect")
    ]
    assert len(boxes) > 5
    for x, y, wide, high in boxes:
        assert left <= x <= x + wide <= left + width
        assert top <= y <= y + high <= top + height
    for (x, y, wide, high), (x2, y2, wide2, high2) in itertools.combinations(boxes, 2):
        assert x + wide <= x2 or x2 + wide2 <= x or y + high <= y2 or y2 + high2 <= y
