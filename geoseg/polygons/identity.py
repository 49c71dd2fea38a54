"""Names of features that follow from what they are and where they lie, not from the order in which they are found."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS

from geoseg.kernel import kernel, subkernel
from geoseg.polygons.rings import Int64
from geoseg.ragged import RaggedGeometries, flatten_geometries

STEP = 1e-3
STEP_DEG = 1e-9
"""Coordinates are told apart to a thousandth of the unit of length, or to a billionth of a degree (0.1 mm)."""

# Coordinates of grids are round numbers, and half steps among them: the border between two steps lies elsewhere.
BORDER = 0.381966

UInt64 = NDArray[np.uint64]


def identify_features(
    class_id: NDArray[np.integer], geometries: NDArray[np.object_], crs_wkt: str
) -> NDArray[np.object_]:
    """Identifiers of features: equal for equal class and geometry, in every run, tiling and machine.

    Where a ring starts, which way it or a line runs, the order of holes, doubled vertices and z change nothing. Another
    class, CRS or kind of geometry (line, area), a vertex more, even on a straight edge, and a vertex moved by a
    thousandth of a unit of length (1e-9 degrees) or more change the identifier. So do other settings of simplification
    and regularisation, since they change the geometry. Of a million features that differ, two have one identifier with
    a probability of 3e-8.

    Args:
        class_id: (n,) integers, 0 to 255.
        geometries: (n,) shapely geometries with finite coordinates, not empty, all areas or all lines.
        crs_wkt: of the coordinates; only its unit matters, and whether it is geographic.

    Returns:
        (n,) object array of strings, 16 hexadecimal digits each.

    Source: a sum of hashes is a hash of the set: Bellare and Micciancio, A New Paradigm for Collision-Free Hashing
        (1997), AdHASH; hash of an edge: finaliser of SplitMix64, Steele, Lea and Flood, Fast Splittable Pseudorandom
        Number Generators (2014), section 4.
    """
    return identify_ragged(class_id, flatten_geometries(geometries), crs_wkt)


def identify_ragged(class_id: NDArray[np.integer], ragged: RaggedGeometries, crs_wkt: str) -> NDArray[np.object_]:
    """`identify_features` of geometries that are flat already."""
    seed = np.asarray(class_id).astype(np.uint64) + np.uint64(256 * ragged.are_lines)
    steps_per_unit = 1.0 / _find_step(crs_wkt)
    return _write_hex(_hash_features(ragged.xy, ragged.part_offsets, ragged.owner_offsets, seed, steps_per_unit))


@lru_cache
def _find_step(crs_wkt: str) -> float:
    return STEP_DEG if CRS.from_wkt(crs_wkt).is_geographic else STEP


def _write_hex(numbers: UInt64) -> NDArray[np.object_]:
    octets = numbers.astype(">u8").view(np.uint8).reshape(-1, 8)
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    text = digits[np.stack([octets >> 4, octets & 15], axis=2).reshape(-1, 16)]
    return text.view("S16").ravel().astype("U16").astype(object)


@subkernel
def mix_bits(value: np.uint64) -> np.uint64:
    """Finaliser of SplitMix64: uint64 to uint64, one to one, each bit of the result depending on all."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@kernel
def _hash_features(xy: NDArray[np.float64], parts: Int64, owner: Int64, seed: UInt64, steps_per_unit: float) -> UInt64:
    """One number per feature: of its seed and the sum over its edges, each hashed without its direction."""
    hashes = np.empty(len(owner) - 1, np.uint64)
    for feature in range(len(hashes)):
        total = np.uint64(0)
        for part in range(owner[feature], owner[feature + 1]):
            before = np.uint64(0)
            for vertex in range(parts[part], parts[part + 1]):
                x = np.int64(math.floor(xy[vertex, 0] * steps_per_unit + BORDER))
                y = np.int64(math.floor(xy[vertex, 1] * steps_per_unit + BORDER))
                here = mix_bits(np.uint64(x) + mix_bits(np.uint64(y) + np.uint64(0x9E3779B97F4A7C15)))
                if vertex > parts[part] and here != before:
                    total += mix_bits(here + before)
                before = here
        hashes[feature] = mix_bits(total + mix_bits(seed[feature] + np.uint64(1)))
    return hashes
