"""A made-up settlement, painted: what `demo.py` shows to a model."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from geoseg.run.scene.canvas import (
    GROUND_M,
    ROAD,
    SUN,
    VEGETATION,
    Canvas,
    Points,
    Street,
    cut,
    line_normals,
    local_axes,
    normalize,
    rectangle,
    to_xy,
)
from geoseg.run.scene.houses import paint_houses

ASPHALT, CONCRETE, DIRT = (112, 110, 108), (176, 171, 162), (194, 175, 148)
CARS = ((225, 226, 228), (60, 62, 66), (120, 126, 134), (120, 126, 134), (150, 44, 40))


def paint_scene(size_px: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Paint a settlement between fields and trees, seen from above at 0.3 m per pixel.

    Returns:
        image uint8 (3, size, size) and classes uint8 (size, size): 0 background, 1 building, 2 road, 3 vegetation.
    """
    canvas = Canvas(size_px, seed)
    streets = _plan_streets(canvas)
    _paint_ground(canvas)
    _paint_fields(canvas)
    _paint_streets(canvas, streets)
    paint_houses(canvas, streets)
    _paint_trees(canvas)
    # The camera: a little blur, then noise that grows with the light.
    seen = cv2.GaussianBlur(canvas.image, (0, 0), 0.75)
    noise = np.asarray(canvas.rng.standard_normal(seen.shape))
    seen = seen + noise * (1.5 + 0.012 * seen)
    image = np.clip(np.round(seen), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.moveaxis(image, -1, 0)), canvas.classes


def _plan_streets(canvas: Canvas) -> list[Street]:
    """A bent grid of streets; one through road of asphalt, the others of concrete or earth, thinner out of town."""
    rng, size = canvas.rng, canvas.size
    bend = [canvas.noise(700.0, octaves=2) * 60 for _ in range(2)]
    along = np.arange(-40.0, size + 40.0, 6.0)
    streets: list[Street] = []
    for axis in (0, 1):
        positions = np.cumsum(rng.uniform(150, 300, 4 + size // 150)) - 110
        positions = positions[positions < size]
        through = int(np.argmin(np.abs(positions - size * 0.45))) if axis == 0 and len(positions) else -1
        for index, position in enumerate(positions):
            line = np.stack([np.full_like(along, position), along], 1)
            line = line if axis == 0 else line[:, ::-1]
            at = np.clip(line, 0, size - 1).astype(int)
            line = line + np.stack([b[at[:, 0], at[:, 1]] for b in bend], 1)
            if index == through:
                streets.append(Street(line, 8.0 / GROUND_M, ASPHALT))
                continue
            color = (ASPHALT, ASPHALT, CONCRETE, DIRT)[int(rng.integers(4))]
            width = rng.uniform(4.0, 6.0) / GROUND_M
            inside = canvas.town[at[:, 0], at[:, 1]] > rng.uniform(0.25, 0.5)
            streets += [Street(part, width, color) for part in _split(line, inside)]
    return streets


def _split(line: Points, keep: NDArray[np.bool_]) -> list[Points]:
    borders = np.flatnonzero(np.diff(keep.astype(int))) + 1
    parts = zip(np.split(line, borders), np.split(keep, borders), strict=True)
    return [part for part, kept in parts if kept[0] and len(part) > 12]


def _paint_ground(canvas: Canvas) -> None:
    wide, fine = normalize(canvas.noise(300.0, octaves=5))[..., None], canvas.noise(3.0, octaves=2)[..., None]
    soil, dust, straw = (np.array(c, np.float32) for c in ((156, 134, 107), (178, 158, 131), (146, 138, 98)))
    patches = normalize(canvas.noise(120.0, octaves=5))[..., None]
    canvas.image[:] = soil + (dust - soil) * np.clip(wide * 2.2 - 0.6, 0, 1)
    canvas.image += (straw - canvas.image) * np.clip(patches * 4 - 2.2, 0, 0.8) * (1 - canvas.town[..., None])
    gravel = np.clip(canvas.noise(150.0, octaves=5) * 3 - 1.6, 0, 0.7)
    canvas.blend((158, 152, 144), gravel)
    canvas.image *= 1 + 0.06 * fine + 0.09 * canvas.grain[..., None] + 0.16 * (patches - 0.5)
    # Meadows with sharp enough edges that what is green is no matter of taste.
    meadow = np.clip((canvas.noise(220.0, octaves=5) - 0.25 - 0.9 * (canvas.town - 0.4)) * 9 + 0.5, 0, 1)
    tone = 1 + 0.10 * canvas.grain + 0.06 * fine[..., 0] + 0.10 * canvas.noise(40.0)
    canvas.blend(np.array((112, 124, 68)) * tone[..., None], meadow * 0.9)
    canvas.classes[meadow > 0.5] = VEGETATION


def _paint_fields(canvas: Canvas) -> None:
    """Green plots with rows (vegetation) and ploughed ones (background), mostly out of town."""
    rng, size = canvas.rng, canvas.size
    for _ in range(size * size // 60_000):
        centre, angle = rng.uniform(0, size, 2), rng.uniform(0, math.pi)
        if canvas.town[int(centre[0]), int(centre[1])] > rng.uniform(0.3, 0.75):
            continue
        area, cover = cut(canvas, rectangle(centre, rng.uniform(60, 150), rng.uniform(40, 100), angle))
        if canvas.taken[area][cover > 0].any():
            continue
        _, across = local_axes(cover.shape, centre - (area[0].start, area[1].start), angle)
        rows = 0.5 + 0.5 * np.sin(across * 2 * math.pi / rng.uniform(5, 8) + canvas.grain[area])
        green = rng.random() < 0.6
        dull, vivid = ((84, 106, 54), (112, 134, 72)) if green else ((136, 110, 86), (170, 144, 114))
        color = np.array(dull, np.float32) + np.subtract(vivid, dull).astype(np.float32) * np.float32(rng.random())
        light = (0.86 + 0.2 * rows) * (1 + 0.14 * canvas.grain[area])
        patch = canvas.image[area]
        patch += (color * light[..., None] - patch) * (cover.astype(np.float32) * 0.95 / 255)[..., None]
        canvas.classes[area][cover > 127] = VEGETATION if green else 0
        canvas.taken[area][cover > 0] = 1
    canvas.taken[:] = 0


def _paint_streets(canvas: Canvas, streets: list[Street]) -> None:
    patches = normalize(canvas.noise(60.0, octaves=4))
    dusty = np.clip(canvas.noise(90.0) * 1.5 - 0.5, 0, 0.5)[..., None]
    # Earth first: asphalt runs through at crossings.
    for surface in (DIRT, CONCRETE, ASPHALT):
        alike = [street for street in streets if street.color == surface]
        cover, tracks = np.zeros_like(canvas.taken), np.zeros_like(canvas.taken)
        for street in alike:
            _draw_line(cover, street.line, round(street.width_px))
            for side in (-0.22, 0.22):
                _draw_line(tracks, street.line + line_normals(street.line) * street.width_px * side, 5)
        rough, worn = (0.08, 0.93) if surface == ASPHALT else (0.12, 1.07)
        verge = cv2.GaussianBlur(cv2.dilate(cover, np.ones((5, 5), np.uint8)), (0, 0), 3).astype(np.float32) / 255
        canvas.blend((168, 148, 122), verge * 0.3 * (0.3 + 0.6 * patches))
        color = np.array(surface, np.float32) * (1 + rough * (canvas.grain + 2 * (patches - 0.5)))[..., None]
        color += (np.array((166, 152, 130), np.float32) - color) * dusty
        canvas.blend(color, cv2.GaussianBlur(cover, (0, 0), 0.8).astype(np.float32) / 255)
        canvas.blend(color * worn, cv2.GaussianBlur(tracks, (0, 0), 2).astype(np.float32) / 255 * 0.6)
        canvas.classes[cover > 127] = ROAD
        canvas.taken[cover > 0] = ROAD
        for street in alike:
            _park_cars(canvas, street)


def _draw_line(cover: NDArray[np.uint8], line: Points, width_px: int) -> None:
    cv2.polylines(cover, [to_xy(line)], False, 255, thickness=width_px, lineType=cv2.LINE_AA, shift=3)


def _park_cars(canvas: Canvas, street: Street) -> None:
    rng, normals = canvas.rng, line_normals(street.line)
    for step in np.flatnonzero(rng.random(len(street.line)) < 0.03):
        centre = street.line[step] + normals[step] * street.width_px * rng.choice((-0.24, 0.24))
        angle = math.atan2(normals[step][1], -normals[step][0])
        color = np.array(CARS[int(rng.integers(len(CARS)))], np.float32)
        for length, width, tone in ((14, 6, 1.0), (6, 5, 0.6)):
            area, cover = cut(canvas, rectangle(centre, length, width, angle))
            patch = canvas.image[area]
            patch += (color * np.float32(tone) - patch) * (cover.astype(np.float32) / 255)[..., None]


def _paint_trees(canvas: Canvas) -> None:
    """Woods out of town, single trees in gardens; crowns lit from the sun's side, with a shadow beside each."""
    rng, size = canvas.rng, canvas.size
    woods = normalize(canvas.noise(260.0, octaves=3))
    crowns = []
    for _ in range(size * size // 260):
        centre = rng.uniform(0, size, 2)
        row, col = centre.astype(int)
        wild = (woods[row, col] - 0.48) * 3.6 * (1.2 - canvas.town[row, col]) + 0.07
        if canvas.taken[row, col] or rng.random() > wild:
            continue
        radius = min(rng.lognormal(math.log(2.6), 0.4), 6.5) / GROUND_M
        crowns.append((centre, radius, canvas.noise_1d(), rng.uniform(0, 1), rng.uniform(0.9, 1.12)))
    shadow = np.zeros_like(canvas.classes)
    for centre, radius, outline, _, _ in crowns:
        corners = _crown_outline(centre + SUN * radius * 0.75, radius, outline)
        cv2.fillPoly(shadow, [to_xy(corners)], 255, cv2.LINE_AA, 3)
    canvas.shade(shadow)
    leaves = canvas.noise(5.0, octaves=2)
    for centre, radius, outline, hue, tone in sorted(crowns, key=lambda crown: crown[1]):
        corners = _crown_outline(centre, radius, outline)
        area, cover = cut(canvas, corners)
        if not cover.size:
            continue
        rows, cols = np.mgrid[area]
        offset = ((rows - centre[0]) * SUN[0] + (cols - centre[1]) * SUN[1]) / radius
        far = np.hypot(rows - centre[0], cols - centre[1]) / radius
        light = tone * (1 - 0.30 * offset - 0.16 * far**2 + 0.24 * leaves[area])
        dark, fresh = np.array((66, 88, 44), np.float32), np.array((104, 124, 66), np.float32)
        green = (dark + (fresh - dark) * hue) * np.clip(light, 0.35, 1.6)[..., None]
        patch = canvas.image[area]
        patch += (green.astype(np.float32) - patch) * (cover.astype(np.float32) / 255)[..., None]
        canvas.classes[area][cover > 127] = VEGETATION


def _crown_outline(centre: Points, radius: float, outline: Points) -> Points:
    angles = np.linspace(0, 2 * math.pi, len(outline), endpoint=False)
    return centre + np.stack([np.sin(angles), np.cos(angles)], 1) * (radius * outline)[:, None]
