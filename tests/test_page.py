"""Pages stand alone, and show what they are given as it is."""

from __future__ import annotations

import math
from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image

from geoseg.errors import OutputError
from geoseg.page import Page, format_value

EVIL = "<script src=\"https://example.org/x.js\">alert('&amp;')</script>"
LINKS = {"src", "srcset", "href", "data", "action", "poster", "background"}


class Seen(HTMLParser):
    """What a browser would make of a page: its tags, its texts, what it would fetch."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.links: list[str] = []
        self.alts: list[str | None] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in LINKS]
        self.alts += [dict(attrs).get("alt")] if tag == "img" else []

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def fill(page: Page, text: str) -> Page:
    figure = Figure()
    figure.add_subplot().plot([1, 2], [3, 4])
    pixels = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    return (
        page.add_heading(text)
        .add_text(text)
        .add_list([text])
        .add_table([text, text], [[text, text]], caption=text)
        .add_matrix([text, "b"], np.array([[3, 1], [0, 0]]), caption=text)
        .add_figure(figure, alt=text)
        .add_pictures({text: pixels}, caption=text)
        .add_key({text: (1, 2, 3)})
    )


def test_text_is_never_read_as_html(tmp_path: Path) -> None:
    evil, harmless = (
        Seen(fill(Page(text), text).write(tmp_path / f"{i}.html")) for i, text in enumerate((EVIL, "harmless"))
    )
    assert evil.tags == harmless.tags
    assert "script" not in evil.tags
    assert evil.texts.count(EVIL) == harmless.texts.count("harmless") >= 10
    assert len(evil.alts) == 2
    assert all(alt is not None and EVIL in alt for alt in evil.alts)


def test_a_page_fetches_nothing(tmp_path: Path) -> None:
    path = fill(Page("a"), EVIL).write(tmp_path / "a.html")
    links = Seen(path).links
    assert links
    assert all(link.startswith("data:image/") for link in links)
    text = path.read_text()
    assert "default-src 'none'" in text
    assert "url(" not in text
    assert "@import" not in text


def test_drawings_keep_every_pixel_and_photographs_nearly(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    drawing = np.array([[0, 0, 0], [230, 20, 110]], np.uint8)[rng.integers(0, 2, (50, 30))]
    photo = np.kron(rng.integers(0, 255, (6, 6, 3)), np.ones((10, 10, 1))) + rng.integers(0, 8, (60, 60, 3))
    path = (
        Page("a").add_pictures({"drawing": drawing, "photo": photo.clip(0, 255).astype(np.uint8)}).write(tmp_path / "a")
    )
    first, second = (
        np.array(Image.open(BytesIO(b64decode(link.split(",")[1])))).astype(int) for link in Seen(path).links
    )
    assert np.array_equal(first, drawing)
    assert np.abs(second - photo).mean() < 5


def test_a_page_does_not_depend_on_the_day(tmp_path: Path) -> None:
    first, second = (fill(Page("a"), "b").write(tmp_path / name).read_bytes() for name in ("1", "2"))
    assert first == second


def test_a_matrix_shows_shares_of_its_rows(tmp_path: Path) -> None:
    counts = np.array([[750, 250], [0, 0]])
    texts = Seen(Page("a").add_matrix(["x", "y"], counts).write(tmp_path / "a.html")).texts
    assert [t for t in texts if t.endswith("%")] == ["75.0%", "25.0%"]
    assert "750" in texts
    assert texts.count("-") == 2


def test_a_page_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        Page("a").write(tmp_path / "file" / "a.html")


@given(st.floats(1e-3, 1e9))
def test_numbers_keep_four_digits(number: float) -> None:
    shown = float(format_value(number).replace(",", ""))
    assert shown == pytest.approx(number, rel=1e-2, abs=6e-5)
    assert format_value(number) == format_value(np.float64(number))


def test_special_values() -> None:
    values = [math.nan, math.inf, 0.0, 0, 1234567, np.int64(1234), 3e-4, True, "text"]
    expected = ["-", "inf", "0.0000", "0", "1,234,567", "1,234", "0.0003", "True", "text"]
    assert [format_value(v) for v in values] == expected
