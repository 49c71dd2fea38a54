"""A made-up settlement, painted: what `demo.py` shows to a model."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

GROUND_M = 0.3
SUN = np.array([0.78, 0.62])
"""Direction in which shadows fall, (row, col), length 1."""

BUILDING, ROAD, VEGETATION = 1, 2, 3

ASPHALT, CONCRETE, DIRT = (112, 110, 108), (176, 171, 162), (203, 186, 162)
METAL, WHITE, RUST, TILE, BLUE, SLAB = (
    (164, 170, 176),
    (214, 217, 218),
    (134, 96, 76),
    (156, 88, 72),
    (98, 138, 170),
    (158, 152, 145),
)
ROOFS = (METAL, METAL, WHITE, RUST, TILE, BLUE, SLAB, SLAB)

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Street:
    """A centreline, (n, 2) rows and columns in pixels, its width in pixels and its colour."""

    line: Points
    width_px: float
    color: tuple[int, int, int]


class Canvas:
    """The scene while it is painted: colours float32 (h, w, 3), 0 to 255, and classes uint8 (h, w)."""

    def __init__(self, size_px: int, seed: int) -> None:
        self.size = size_px
        self.rng = np.random.default_rng(seed)
        self.image = np.zeros((size_px, size_px, 3), np.float32)
        self.classes = np.zeros((size_px, size_px), np.uint8)
        self.taken = np.zeros((size_px, size_px), np.uint8)
        self.town = _normalize(self.noise(900.0, octaves=2))
        self.grain = self.noise(6.0, octaves=3)

    def noise(self, cell_px: float, *, octaves: int = 4) -> NDArray[np.float32]:
        """Smooth noise, float32 (size, size), about -1 to 1; each octave has half the cell and half the height."""
        total = np.zeros((self.size, self.size), np.float32)
        for octave in range(octaves):
            cells = max(2, math.ceil(self.size * 2**octave / cell_px) + 3)
            coarse = self.rng.standard_normal((cells, cells)).astype(np.float32)
            span = int(cells * cell_px / 2**octave)
            fine = cv2.resize(coarse, (max(span, self.size), max(span, self.size)), interpolation=cv2.INTER_CUBIC)
            total += fine[: self.size, : self.size] / 2**octave
        return total / 2

    def noise_1d(self) -> NDArray[np.float64]:
        """The radii of a crown's outline, (20,), about 1."""
        bumps = self.rng.normal(0, 0.16, 20)
        return 1 + (bumps + np.roll(bumps, 1)) / 1.6

    def blend(self, color: NDArray[np.float32] | tuple[int, int, int], cover: NDArray[np.float32]) -> None:
        """Lay a colour over the image, (h, w, 3) or one for all, where and as far as `cover` (h, w), 0 to 1, says."""
        self.image += (np.asarray(color, np.float32) - self.image) * cover[..., None]

    def shade(self, shadow: NDArray[np.uint8]) -> None:
        """Darken where `shadow` (h, w) is 255; what light remains is bluish."""
        soft = cv2.GaussianBlur(shadow, (0, 0), 0.9).astype(np.float32)[..., None] / 255
        self.image *= 1 - soft * np.array([0.60, 0.57, 0.51], np.float32)


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
    _paint_houses(canvas, streets)
    _paint_trees(canvas)
    # The camera: a little blur, then noise that grows with the light.
    seen = cv2.GaussianBlur(canvas.image, (0, 0), 0.75)
    seen += canvas.rng.standard_normal(seen.shape).astype(np.float32) * (1.5 + 0.012 * seen)
    image = np.clip(np.round(seen), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.moveaxis(image, -1, 0)), canvas.classes


def _normalize(field: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray((field - field.min()) / max(float(np.ptp(field)), 1e-6), np.float32)


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
            color = (ASPHALT, CONCRETE, DIRT, DIRT)[int(rng.integers(4))]
            width = rng.uniform(4.0, 6.0) / GROUND_M
            inside = canvas.town[at[:, 0], at[:, 1]] > rng.uniform(0.25, 0.5)
            streets += [Street(part, width, color) for part in _split(line, inside)]
    return streets


def _split(line: Points, keep: NDArray[np.bool_]) -> list[Points]:
    borders = np.flatnonzero(np.diff(keep.astype(int))) + 1
    parts = zip(np.split(line, borders), np.split(keep, borders), strict=True)
    return [part for part, kept in parts if kept[0] and len(part) > 12]


def _paint_ground(canvas: Canvas) -> None:
    wide, fine = _normalize(canvas.noise(300.0, octaves=5))[..., None], canvas.noise(3.0, octaves=2)[..., None]
    soil, dust, straw = (np.array(c, np.float32) for c in ((156, 134, 107), (178, 158, 131), (146, 138, 98)))
    patches = _normalize(canvas.noise(120.0, octaves=5))[..., None]
    canvas.image[:] = soil + (dust - soil) * np.clip(wide * 2.2 - 0.6, 0, 1)
    canvas.image += (straw - canvas.image) * np.clip(patches * 4 - 2.2, 0, 0.8) * (1 - canvas.town[..., None])
    canvas.image *= 1 + 0.06 * fine + 0.07 * canvas.grain[..., None]
    # Meadows with sharp enough edges that what is green is no matter of taste.
    meadow = np.clip((canvas.noise(220.0, octaves=5) - 0.25 - 0.9 * (canvas.town - 0.4)) * 9 + 0.5, 0, 1)
    tone = 1 + 0.10 * canvas.grain + 0.06 * fine[..., 0] + 0.10 * canvas.noise(40.0)
    canvas.blend((np.array((112, 124, 68), np.float32) * tone[..., None]).astype(np.float32), meadow * 0.9)
    canvas.classes[meadow > 0.5] = VEGETATION


def _paint_fields(canvas: Canvas) -> None:
    """Green plots with rows (vegetation) and ploughed ones (background), mostly out of town."""
    rng, size = canvas.rng, canvas.size
    for _ in range(size * size // 60_000):
        centre, angle = rng.uniform(0, size, 2), rng.uniform(0, math.pi)
        if canvas.town[int(centre[0]), int(centre[1])] > rng.uniform(0.3, 0.75):
            continue
        area, cover = _cut(canvas, _rectangle(centre, rng.uniform(60, 150), rng.uniform(40, 100), angle))
        if canvas.taken[area][cover > 0].any():
            continue
        _, across = _local_axes(cover.shape, centre - (area[0].start, area[1].start), angle)
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
    patches = _normalize(canvas.noise(60.0, octaves=4))
    # Earth first: asphalt runs through at crossings.
    for street in sorted(streets, key=lambda s: s.color == ASPHALT):
        cover = np.zeros((canvas.size, canvas.size), np.uint8)
        line = [_to_xy(street.line)]
        cv2.polylines(cover, line, False, 255, thickness=round(street.width_px), lineType=cv2.LINE_AA, shift=3)
        verge = cv2.GaussianBlur(cv2.dilate(cover, np.ones((5, 5), np.uint8)), (0, 0), 3).astype(np.float32) / 255
        canvas.blend((168, 148, 122), verge * 0.3 * (0.3 + 0.6 * patches))
        rough = 0.05 if street.color == ASPHALT else 0.10
        color = np.array(street.color, np.float32) * (1 + rough * (canvas.grain + 2 * (patches - 0.5)))[..., None]
        canvas.blend(color.astype(np.float32), cv2.GaussianBlur(cover, (0, 0), 0.8).astype(np.float32) / 255)
        for side in (-0.22, 0.22):
            track = np.zeros_like(cover)
            shifted = street.line + _normals(street.line) * street.width_px * side
            cv2.polylines(track, [_to_xy(shifted)], False, 255, thickness=5, lineType=cv2.LINE_AA, shift=3)
            tone = 0.93 if street.color == ASPHALT else 1.07
            soft = cv2.GaussianBlur(track, (0, 0), 2).astype(np.float32) / 255
            canvas.blend((color * tone).astype(np.float32), soft * 0.6)
        canvas.classes[cover > 127] = ROAD
        canvas.taken[cover > 0] = ROAD
        _park_cars(canvas, street)


def _park_cars(canvas: Canvas, street: Street) -> None:
    rng, normals = canvas.rng, _normals(street.line)
    for step in np.flatnonzero(rng.random(len(street.line)) < 0.03):
        centre = street.line[step] + normals[step] * street.width_px * rng.choice((-0.24, 0.24))
        angle = math.atan2(normals[step][1], -normals[step][0])
        color = np.array(
            ((225, 226, 228), (60, 62, 66), (150, 44, 40), (120, 126, 134))[int(rng.integers(4))], np.float32
        )
        for length, width, tone in ((14, 6, 1.0), (6, 5, 0.6)):
            area, cover = _cut(canvas, _rectangle(centre, length, width, angle))
            patch = canvas.image[area]
            patch += (color * np.float32(tone) - patch) * (cover.astype(np.float32) / 255)[..., None]


def _paint_houses(canvas: Canvas, streets: list[Street]) -> None:
    houses = _place_houses(canvas, streets)
    shadow, yards = np.zeros_like(canvas.classes), np.zeros_like(canvas.classes)
    for wings, height_px, _ in houses:
        for centre, length, width, angle in wings:
            corners = _rectangle(centre, length, width, angle)
            cv2.fillPoly(yards, [_to_xy(_rectangle(centre, length + 22, width + 22, angle))], 255, cv2.LINE_AA, 3)
            hull = cv2.convexHull(_to_xy(np.concatenate([corners, corners + SUN * height_px])))
            cv2.fillPoly(shadow, [hull], 255, cv2.LINE_AA, 3)
    bare = cv2.GaussianBlur(yards, (0, 0), 5).astype(np.float32) / 255 * (canvas.classes != ROAD)
    canvas.blend(
        (np.array((178, 160, 134), np.float32) * (1 + 0.09 * canvas.grain)[..., None]).astype(np.float32), bare * 0.75
    )
    canvas.classes[(bare > 0.6) & (canvas.classes == VEGETATION)] = 0
    canvas.shade(shadow)
    for wings, _, color in houses:
        for wing in wings:
            _paint_roof(canvas, wing, color)


Wing = tuple[Points, float, float, float]


def _place_houses(canvas: Canvas, streets: list[Street]) -> list[tuple[list[Wing], float, tuple[int, int, int]]]:
    """Along both sides of the streets, (wings, shadow length in pixels, roof colour) of houses that do not touch."""
    rng = canvas.rng
    houses = []
    for street in streets:
        normals, step = _normals(street.line), 0
        while step < len(street.line):
            for side in (-1, 1):
                length, width = rng.uniform(8, 17) / GROUND_M, rng.uniform(6.5, 10.5) / GROUND_M
                depth = street.width_px / 2 + width / 2 + rng.uniform(2.0, 8.0) / GROUND_M
                centre = street.line[step] + normals[step] * side * depth
                angle = math.atan2(normals[step][1], -normals[step][0]) + rng.normal(0, 0.05)
                wings: list[Wing] = [(centre, length, width, angle)]
                if rng.random() < 0.25:
                    back = centre + side * normals[step] * width * 0.6 + _unit(angle) * length * 0.25
                    wings.append((back, width * 1.1, width * 0.75, angle + math.pi / 2))
                if _is_free(canvas, wings) and canvas.town[tuple(centre.astype(int))] > rng.uniform(0.2, 0.62):
                    color = ROOFS[int(rng.integers(len(ROOFS)))]
                    houses.append((wings, rng.uniform(2.5, 6.0) / GROUND_M, color))
                    _take(canvas, wings)
            step += int(rng.uniform(11, 21) / GROUND_M / 6)
    return houses


def _is_free(canvas: Canvas, wings: list[Wing]) -> bool:
    for centre, length, width, angle in wings:
        corners = _rectangle(centre, length + 6, width + 6, angle)
        if corners.min() < 1 or corners.max() > canvas.size - 2:
            return False
        area, cover = _cut(canvas, corners)
        if canvas.taken[area][cover > 0].any():
            return False
    return True


def _take(canvas: Canvas, wings: list[Wing]) -> None:
    for centre, length, width, angle in wings:
        area, cover = _cut(canvas, _rectangle(centre, length, width, angle))
        canvas.taken[area][cover > 0] = BUILDING


def _paint_roof(canvas: Canvas, wing: Wing, color: tuple[int, int, int]) -> None:
    """Two slopes along the ridge with ribs, or a flat slab with a parapet, a stair head and a tank."""
    rng = canvas.rng
    centre, length, width, angle = wing
    area, cover = _cut(canvas, _rectangle(centre, length, width, angle))
    along, across = _local_axes(cover.shape, centre - (area[0].start, area[1].start), angle)
    grain = canvas.grain[area]
    base = np.array(color, np.float32) * rng.uniform(0.88, 1.1)
    light = 1 + 0.05 * grain
    if color == SLAB:
        edge = np.minimum(length / 2 - np.abs(along), width / 2 - np.abs(across))
        light += 0.16 * (edge < 1.6) - 0.14 * ((edge > 1.6) & (edge < 4) & (across + along < 0))
        head = (np.abs(along - length * 0.28) < 5) & (np.abs(across + width * 0.18) < 5)
        light += 0.14 * head
    else:
        slope = 0.13 * float(np.sign(-np.cross(_unit(angle), SUN)) or 1)
        light += np.where(across > 0, slope, -slope) + 0.10 * (np.abs(across) < 0.8)
        light += 0.035 * np.sin(along * 2 * math.pi / (3.4 if color != TILE else 2.3))
    roof = base * light[..., None]
    stain = np.clip(grain * rng.uniform(0.1, 0.9) - 0.25, 0, 0.55)[..., None]
    roof = roof + (np.array(RUST if color in (METAL, WHITE) else (98, 92, 84), np.float32) - roof) * stain
    soft = cover.astype(np.float32) / 255
    patch = canvas.image[area]
    patch += (roof.astype(np.float32) - patch) * soft[..., None]
    if color == SLAB and rng.random() < 0.6:
        spot = centre + _unit(angle) * length * 0.2
        cv2.circle(canvas.image, _to_xy(spot[None])[0, 0].tolist(), 3 << 3, (38, 40, 44), -1, cv2.LINE_AA, 3)
    canvas.classes[area][cover > 127] = BUILDING


def _paint_trees(canvas: Canvas) -> None:
    """Woods out of town, single trees in gardens; crowns lit from the sun's side, with a shadow beside each."""
    rng, size = canvas.rng, canvas.size
    woods = _normalize(canvas.noise(260.0, octaves=3))
    crowns = []
    for _ in range(size * size // 260):
        centre = rng.uniform(0, size, 2)
        row, col = centre.astype(int)
        wild = (woods[row, col] - 0.48) * 3.2 * (1.15 - canvas.town[row, col]) + 0.05
        if canvas.taken[row, col] or rng.random() > wild:
            continue
        radius = min(rng.lognormal(math.log(2.6), 0.4), 6.5) / GROUND_M
        crowns.append((centre, radius, canvas.noise_1d(), rng.uniform(0, 1), rng.uniform(0.9, 1.12)))
    shadow = np.zeros_like(canvas.classes)
    for centre, radius, outline, _, _ in crowns:
        corners = _crown_outline(centre + SUN * radius * 0.75, radius, outline)
        cv2.fillPoly(shadow, [_to_xy(corners)], 255, cv2.LINE_AA, 3)
    canvas.shade(shadow)
    leaves = canvas.noise(5.0, octaves=2)
    for centre, radius, outline, hue, tone in sorted(crowns, key=lambda crown: crown[1]):
        corners = _crown_outline(centre, radius, outline)
        area, cover = _cut(canvas, corners)
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


def _cut(canvas: Canvas, corners: Points) -> tuple[tuple[slice, slice], NDArray[np.uint8]]:
    """The block of the canvas around a polygon, and the polygon's cover there, uint8 0 to 255."""
    low = np.clip(np.floor(corners.min(0)).astype(int) - 2, 0, canvas.size)
    high = np.clip(np.ceil(corners.max(0)).astype(int) + 3, 0, canvas.size)
    cover = np.zeros(np.maximum(high - low, 0), np.uint8)
    if cover.size:
        cv2.fillPoly(cover, [_to_xy(corners - low)], 255, cv2.LINE_AA, 3)
    return (slice(low[0], high[0]), slice(low[1], high[1])), cover


def _rectangle(centre: Points, length: float, width: float, angle: float) -> Points:
    along, across = _unit(angle) * length / 2, _unit(angle + math.pi / 2) * width / 2
    return np.stack(
        [centre + along + across, centre + along - across, centre - along - across, centre - along + across]
    )


def _local_axes(shape: tuple[int, ...], centre: Points, angle: float) -> tuple[Points, Points]:
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    (row, col), (r, c) = _unit(angle), (rows - centre[0], cols - centre[1])
    return r * row + c * col, -r * col + c * row


def _unit(angle: float) -> Points:
    return np.array([math.sin(angle), math.cos(angle)])


def _normals(line: Points) -> Points:
    direction = np.gradient(line, axis=0)
    direction /= np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-9)
    return np.stack([-direction[:, 1], direction[:, 0]], 1)


def _to_xy(points: Points) -> NDArray[np.int32]:
    """(row, col) as OpenCV's (x, y) with three fractional bits."""
    return np.round(points[:, ::-1] * 8).astype(np.int32).reshape(-1, 1, 2)
