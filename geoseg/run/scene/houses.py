"""Houses along streets."""

from __future__ import annotations

import math

import cv2
import numpy as np

from geoseg.run.scene.canvas import (
    BUILDING,
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
    rectangle,
    to_xy,
    unit,
)

METAL, WHITE, RUST, TILE, BLUE, SLAB = (
    (164, 170, 176),
    (214, 217, 218),
    (134, 96, 76),
    (156, 88, 72),
    (98, 138, 170),
    (158, 152, 145),
)
TRODDEN, PAVING = (178, 160, 134), (160, 154, 146)
ROOFS = (METAL, METAL, WHITE, RUST, TILE, BLUE, SLAB, SLAB)

Wing = tuple[Points, float, float, float]
"""Centre, length and width in pixels, angle of the ridge."""


def paint_houses(canvas: Canvas, streets: list[Street]) -> None:
    """Place houses along the streets; paint their yards, shadows and roofs."""
    houses = _place_houses(canvas, streets)
    shadow, paved = np.zeros_like(canvas.classes), np.zeros_like(canvas.classes)
    yards = np.zeros_like(canvas.classes)
    for wings, height_px, _ in houses:
        for centre, length, width, angle in wings:
            corners = rectangle(centre, length, width, angle)
            yard = [to_xy(rectangle(centre, length + 24, width + 24, angle))]
            cv2.fillPoly(paved if canvas.rng.random() < 0.3 else yards, yard, 255, cv2.LINE_AA, 3)
            hull = cv2.convexHull(to_xy(np.concatenate([corners, corners + SUN * height_px])))
            cv2.fillPoly(shadow, [hull], 255, cv2.LINE_AA, 3)
    light = (1 + 0.1 * canvas.grain)[..., None]
    for cover, color, soft_px in ((yards, TRODDEN, 5.0), (paved, PAVING, 1.0)):
        bare = cv2.GaussianBlur(cover, (0, 0), soft_px).astype(np.float32) / 255 * (canvas.classes != ROAD)
        canvas.blend(np.array(color) * light, bare * 0.8)
        canvas.classes[(bare > 0.6) & (canvas.classes == VEGETATION)] = 0
    canvas.shade(shadow)
    for wings, _, color in houses:
        for wing in wings:
            _paint_roof(canvas, wing, color)


def _place_houses(canvas: Canvas, streets: list[Street]) -> list[tuple[list[Wing], float, tuple[int, int, int]]]:
    """Along both sides of the streets, (wings, shadow length in pixels, roof colour) of houses that do not touch."""
    rng = canvas.rng
    houses = []
    for street in streets:
        normals, step = line_normals(street.line), 0
        while step < len(street.line):
            for side in (-1, 1):
                length, width = rng.uniform(8, 17) / GROUND_M, rng.uniform(6.5, 10.5) / GROUND_M
                depth = street.width_px / 2 + width / 2 + rng.uniform(2.0, 8.0) / GROUND_M
                centre = street.line[step] + normals[step] * side * depth
                angle = math.atan2(normals[step][1], -normals[step][0]) + rng.normal(0, 0.05)
                wings: list[Wing] = [(centre, length, width, angle)]
                if rng.random() < 0.25:
                    back = centre + side * normals[step] * width * 0.6 + unit(angle) * length * 0.25
                    wings.append((back, width * 1.1, width * 0.75, angle + math.pi / 2))
                if _is_free(canvas, wings) and canvas.town[tuple(centre.astype(int))] > rng.uniform(0.2, 0.62):
                    color = ROOFS[int(rng.integers(len(ROOFS)))]
                    houses.append((wings, rng.uniform(2.5, 6.0) / GROUND_M, color))
                    _take(canvas, wings)
            step += int(rng.uniform(11, 21) / GROUND_M / 6)
    return houses


def _is_free(canvas: Canvas, wings: list[Wing]) -> bool:
    for centre, length, width, angle in wings:
        corners = rectangle(centre, length + 6, width + 6, angle)
        if corners.min() < 1 or corners.max() > canvas.size - 2:
            return False
        area, cover = cut(canvas, corners)
        if canvas.taken[area][cover > 0].any():
            return False
    return True


def _take(canvas: Canvas, wings: list[Wing]) -> None:
    for centre, length, width, angle in wings:
        area, cover = cut(canvas, rectangle(centre, length, width, angle))
        canvas.taken[area][cover > 0] = BUILDING


def _paint_roof(canvas: Canvas, wing: Wing, color: tuple[int, int, int]) -> None:
    """Two slopes along the ridge with ribs, or a flat slab with a parapet, a stair head and a tank."""
    rng = canvas.rng
    centre, length, width, angle = wing
    area, cover = cut(canvas, rectangle(centre, length, width, angle))
    along, across = local_axes(cover.shape, centre - (area[0].start, area[1].start), angle)
    grain = canvas.grain[area]
    base = (np.array(color) + rng.normal(0, 3.5, 3)) * rng.uniform(0.82, 1.12)
    light = 1 + 0.08 * grain
    if color == SLAB:
        edge = np.minimum(length / 2 - np.abs(along), width / 2 - np.abs(across))
        light += 0.16 * (edge < 1.6) - 0.14 * ((edge > 1.6) & (edge < 4) & (across + along < 0))
        head = (np.abs(along - length * 0.28) < 5) & (np.abs(across + width * 0.18) < 5)
        light += 0.14 * head
    else:
        slope = 0.13 * (-1 if unit(angle)[0] * SUN[1] > unit(angle)[1] * SUN[0] else 1)
        light += np.where(across > 0, slope, -slope) + 0.10 * (np.abs(across) < 0.8)
        light += 0.035 * np.sin(along * 2 * math.pi / (3.4 if color != TILE else 2.3))
    roof = base * light[..., None]
    stain = np.clip(grain * rng.uniform(0.1, 0.9) - 0.25, 0, 0.55)[..., None]
    roof = roof + (np.array(RUST if color in (METAL, WHITE) else (98, 92, 84), np.float32) - roof) * stain
    soft = cover.astype(np.float32) / 255
    patch = canvas.image[area]
    patch += (roof.astype(np.float32) - patch) * soft[..., None]
    if color == SLAB and rng.random() < 0.6:
        spot = centre + unit(angle) * length * 0.2
        cv2.circle(canvas.image, to_xy(spot[None])[0, 0].tolist(), 3 << 3, (38, 40, 44), -1, cv2.LINE_AA, 3)
    canvas.classes[area][cover > 127] = BUILDING
