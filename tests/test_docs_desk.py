"""The tour of the desk is true to the code: its keys, its pictures, its scores."""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- keys", "<!-- end of keys -->"


def make_table() -> str:
    """The table of keys; ``python tests/test_docs_desk.py`` writes it into the page."""
    from napari_sam.viewer.shortcuts import SHORTCUTS

    groups = list(dict.fromkeys(shortcut.group for shortcut in SHORTCUTS.values()))
    ordered = sorted(SHORTCUTS.values(), key=lambda shortcut: groups.index(shortcut.group))
    lines = ["| | key | |", "|---|---|---|"]
    for group, shortcuts in groupby(ordered, key=lambda shortcut: shortcut.group):
        for number, shortcut in enumerate(shortcuts):
            lines.append(f"| {'' if number else f'**{group}**'} | `{shortcut.key}` | {shortcut.does} |")
    return "\n".join(lines)


def read_parts() -> tuple[str, str, str]:
    """The page before the table, the table, and the page after it."""
    text = (DOCS / "desk.md").read_text(encoding="utf-8")
    start = text.index("\n", text.index(BEGIN)) + 1
    stop = text.index(END)
    return text[:start], text[start:stop], text[stop:]


def test_the_table_lists_the_keys_of_the_code() -> None:
    pytest.importorskip("napari")
    assert read_parts()[1].strip() == make_table()


def test_every_picture_is_there_and_small() -> None:
    text = "".join(read_parts())
    pictures = re.findall(r"!\[[^\]]+\]\((images/desk/[^)]+)\)", text)
    assert len(pictures) == len(set(pictures)) >= 12
    sizes = {picture: (DOCS / picture).stat().st_size for picture in pictures}
    assert {picture: size for picture, size in sizes.items() if size > 150_000} == {}
    unused = {f"images/desk/{path.name}" for path in (DOCS / "images" / "desk").iterdir()} - sizes.keys()
    assert unused == set()


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([a-z_]+\.md)\)", "".join(read_parts()))
    assert links
    assert [link for link in links if not (DOCS / link).exists()] == []


def test_the_signs_of_suspicion_are_those_of_the_table() -> None:
    from napari_sam.session.object_places import ObjectPlaces
    from napari_sam.session.review import Suspicion

    labels = np.arange(1, 4)
    areas = np.full(3, 50)
    boxes = np.tile([1, 1, 5, 5], (3, 1))
    planes = np.zeros(3, int)
    places = ObjectPlaces(
        labels, areas, areas, boxes, planes, np.array([False, False, True]), ((None, None),)
    )
    signs = Suspicion.of(places, {1: 0.95, 2: 0.5}, {1: 0.95, 2: 0.5})
    assert signs.iou.tolist() == [0, 0.9, 0]
    assert signs.stability.tolist() == [0, 0.6, 0]
    assert signs.border.tolist() == [0, 0, 0.2]
    page = "".join(read_parts())
    for text in ("0.9 at 0.5", "0.6 at 0.5", "0.2 where it touches", "0.8 from 6 on"):
        assert text in page


if __name__ == "__main__":
    before, _, after = read_parts()
    (DOCS / "desk.md").write_text(before + make_table() + "\n" + after, encoding="utf-8")
