"""Reports as one HTML file each: they open without a network and run no script."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geoseg.files import replace_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LIGHT_INK, DARK_INK = "#1d2329", "#e4e7ea"
"""Colour of text and axes, on a light and on a dark ground."""

STYLE = f"""
:root {{ color-scheme: light dark; --ink: {LIGHT_INK}; --ground: #fff; --faint: #5f6972; --line: #dce0e4;
  --right: 38 132 90; --wrong: 205 62 52; }}
@media (prefers-color-scheme: dark) {{ :root {{ --ink: {DARK_INK}; --ground: #15191d; --faint: #9aa4ad;
  --line: #333b43; --right: 66 178 126; --wrong: 232 98 88; }} }}
body {{ margin: 0 auto; padding: 1.5rem 1.25rem 4rem; max-width: 66rem; background: var(--ground); color: var(--ink);
  font: 1rem/1.55 system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }}
h1 {{ font-size: 1.75rem; line-height: 1.2; margin: 0 0 1rem; }}
h2 {{ font-size: 1.25rem; margin: 2.75rem 0 .75rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line); }}
h3 {{ font-size: 1.05rem; margin: 1.75rem 0 .5rem; }}
p, ul {{ max-width: 46rem; overflow-wrap: anywhere; }}
.scroll {{ overflow-x: auto; margin: .75rem 0 1.25rem; }}
table {{ border-collapse: collapse; font-size: .925rem; font-variant-numeric: tabular-nums; }}
caption, figcaption, .label {{ color: var(--faint); font-size: .875rem; text-align: left; }}
caption {{ padding-bottom: .35rem; white-space: nowrap; }}
th, td {{ padding: .3rem .8rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }}
thead th {{ vertical-align: bottom; color: var(--faint); }}
tbody th {{ font-weight: 500; }}
.number {{ text-align: right; white-space: nowrap; }}
.share small {{ display: block; color: var(--faint); }}
.right {{ background: rgb(var(--right) / calc(.55 * var(--share))); }}
.wrong {{ background: rgb(var(--wrong) / calc(.85 * var(--share))); }}
.share.right small, .share.wrong small {{ color: inherit; opacity: .75; }}
figure {{ margin: .75rem 0 1.5rem; }}
img {{ display: block; max-width: 100%; height: auto; }}
.row {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .6rem; max-width: 64rem; }}
.row img {{ width: 100%; max-width: 20rem; border-radius: 3px; }}
.row :only-child img {{ max-width: 48rem; image-rendering: pixelated; }}
.chart {{ overflow-x: auto; }}
.chart img {{ min-width: 36rem; }}
.key {{ display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; padding: 0; list-style: none; }}
.key span {{ display: inline-block; width: .9em; height: .9em; margin-right: .45em; vertical-align: -.08em;
  border: 1px solid var(--faint); border-radius: 2px; }}
"""

# Whatever a name or a message smuggles in, the page may fetch and run nothing.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


class Page:
    """A page that grows from top to bottom; all text that it is given is shown as it is, never read as HTML."""

    def __init__(self, title: str) -> None:
        self._title = escape(title)
        self._parts = [f"<h1>{self._title}</h1>"]

    def add_heading(self, text: str, *, level: int = 2) -> Page:
        """A heading; the title of the page is level 1."""
        return self._add(f"<h{level}>{escape(text)}</h{level}>")

    def add_text(self, text: str) -> Page:
        """A paragraph."""
        return self._add(f"<p>{escape(text)}</p>")

    def add_list(self, items: Iterable[str]) -> Page:
        """A list with bullets."""
        return self._add("<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>")

    def add_table(self, head: Sequence[str], rows: Iterable[Sequence[object]], *, caption: str = "") -> Page:
        """A table whose first column names the rows; numbers are formatted, those that are none become a dash."""
        lines = [list(row) for row in rows]
        is_number = [i > 0 and any(_is_number(line[i]) for line in lines) for i in range(len(head))]
        titles = "".join(_cell("th", escape(t), n, 'scope="col"') for t, n in zip(head, is_number, strict=True))
        body = []
        for line in lines:
            cells = [escape(format_value(value)) for value in line]
            first = _cell("th", cells[0], False, 'scope="row"')
            rest = "".join(_cell("td", c, n) for c, n in zip(cells[1:], is_number[1:], strict=True))
            body.append(f"<tr>{first}{rest}</tr>")
        return self._add_table(caption, titles, body)

    def add_matrix(self, names: Sequence[str], counts: NDArray[np.int64], *, caption: str = "") -> Page:
        """A confusion matrix: every cell with its share of the row and its count.

        Args:
            names: of the classes, K.
            counts: int64 (K, K), truth by prediction.
            caption: shown above.
        """
        titles = _cell("th", "true \\ predicted", False, 'scope="col"')
        titles += "".join(_cell("th", escape(name), True, 'scope="col"') for name in names)
        body = []
        for i, (name, row) in enumerate(zip(names, counts.tolist(), strict=True)):
            total = sum(row)
            cells = [_share_cell(count, total, is_right=i == j) for j, count in enumerate(row)]
            body.append("<tr>" + _cell("th", escape(name), False, 'scope="row"') + "".join(cells) + "</tr>")
        return self._add_table(caption, titles, body)

    def add_figure(self, figure: Figure, *, alt: str) -> Page:
        """A chart, drawn in dark ink for light screens and in light ink for dark ones; `alt` says what it shows."""
        width = round(figure.get_figwidth() * 96)
        light, dark = (_draw(figure, ink) for ink in (LIGHT_INK, DARK_INK))
        return self._add(
            f'<figure class="chart"><picture><source media="(prefers-color-scheme: dark)" srcset="{dark}">'
            f'<img src="{light}" alt="{escape(alt)}" width="{width}"></picture></figure>'
        )

    def add_pictures(self, pictures: Mapping[str, NDArray[np.uint8]], *, caption: str = "") -> Page:
        """Pictures side by side, uint8 (H, W, 3), each with its name below, which also describes it to the blind."""
        cells = "".join(
            f'<div><img src="{_encode(pixels)}" alt="{escape(f"{name}: {caption}" if caption else name)}">'
            f'<div class="label">{escape(name)}</div></div>'
            for name, pixels in pictures.items()
        )
        return self._add(f'<figure>{_caption(caption)}<div class="row">{cells}</div></figure>')

    def add_key(self, colors: Mapping[str, tuple[int, int, int]]) -> Page:
        """What the colours (R, G, B; 0 to 255) of pictures mean."""
        items = "".join(
            f'<li><span style="background: rgb{color}"></span>{escape(name)}</li>' for name, color in colors.items()
        )
        return self._add(f'<ul class="key">{items}</ul>')

    def write(self, path: Path) -> Path:
        """Write the page; it appears, or replaces an earlier one, as a whole.

        Raises:
            OutputError: the file cannot be written.
        """
        text = (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{self._title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        )
        with replace_file(path) as temporary:
            temporary.write_text("\n".join([text, *self._parts, "</body>\n</html>\n"]), encoding="utf-8")
        return path

    def _add(self, part: str) -> Page:
        self._parts.append(part)
        return self

    def _add_table(self, caption: str, titles: str, body: Sequence[str]) -> Page:
        above = f"<caption>{escape(caption)}</caption>" if caption else ""
        return self._add(
            f'<div class="scroll"><table>{above}<thead><tr>{titles}</tr></thead>'
            f"<tbody>{''.join(body)}</tbody></table></div>"
        )


def format_value(value: object) -> str:
    """A value as text: four decimals for scores, fewer for large numbers, a dash for what is not a number."""
    if isinstance(value, bool) or not _is_number(value):
        return str(value)
    number: Any = value
    if isinstance(value, int | np.integer):
        return f"{number:,}"
    if not math.isfinite(number):
        return "-" if math.isnan(number) else str(number)
    if number == 0 or 1e-3 <= abs(number) < 10:
        return f"{number:.4f}"
    return f"{number:,.1f}" if abs(number) >= 10 else f"{number:.3g}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _cell(tag: str, text: str, is_number: bool, more: str = "") -> str:
    style = 'class="number"' if is_number else ""
    return f"<{' '.join(filter(None, (tag, style, more)))}>{text}</{tag}>"


def _share_cell(count: int, total: int, *, is_right: bool) -> str:
    if not total:
        return '<td class="number">-</td>'
    share, color = count / total, "right" if is_right else "wrong"
    text = f"{share:.1%}<small>{count:,}</small>"
    return f'<td class="number share {color}" style="--share: {share:.3f}">{text}</td>'


def _caption(text: str) -> str:
    return f"<figcaption>{escape(text)}</figcaption>" if text else ""


def _encode(pixels: NDArray[np.uint8]) -> str:
    """PNG for drawings, JPEG for photographs, which would be five times as large as PNG."""
    image, buffer = Image.fromarray(pixels), BytesIO()
    if image.getcolors(256) is not None:
        image.save(buffer, "PNG")
        return _data_uri(buffer, "png")
    image.save(buffer, "JPEG", quality=92, subsampling=0)
    return _data_uri(buffer, "jpeg")


def _draw(figure: Figure, ink: str) -> str:
    for axes in figure.axes:
        axes.tick_params(which="both", colors=ink)
        for text in (axes.title, axes.xaxis.label, axes.yaxis.label):
            text.set_color(ink)
        for spine in axes.spines.values():
            spine.set_color(ink)
        legend = axes.get_legend()
        for text in legend.get_texts() if legend else ():
            text.set_color(ink)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=192, transparent=True, metadata={"Software": None})
    return _data_uri(buffer, "png")


def _data_uri(buffer: BytesIO, kind: str) -> str:
    return f"data:image/{kind};base64," + b64encode(buffer.getvalue()).decode("ascii")
