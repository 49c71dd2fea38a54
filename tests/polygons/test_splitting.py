"""Components are cut where the confidence dips, each by itself."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import local_maxima, reconstruction

from geoseg.polygons.splitting import LEAST_M2, color_parts, find_summits, split_component

PIXEL_M = (0.4, 0.4)


def split(mask: NDArray[np.bool_], confidence: NDArray[np.uint8], pixel_m: tuple[float, float]) -> NDArray[np.int32]:
    """Parts of all components of a mask, under numbers of their own; 0 elsewhere."""
    component, _ = ndimage.label(mask)
    parts = component.astype(np.int32)
    for number, box in enumerate(ndimage.find_objects(component), start=1):
        mine = component[box] == number
        cut = split_component(mine, confidence[box], pixel_m, at=(box[0].start, box[1].start))
        if cut is not None:
            assert ((cut > 0) == mine).all()
            parts[box][mine] = parts.max() + cut[mine]
    return parts


def draw_roofs(*, dip: int, pixel_m: tuple[float, float] = PIXEL_M) -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
    """Three roofs of 8 x 10 m in a row, wall to wall, with a step in their fronts, and one that stands alone."""
    height, width = (round(side / pixel) for side, pixel in zip((20.0, 40.0), pixel_m, strict=True))
    y, x = np.meshgrid((np.arange(height) + 0.5) * pixel_m[0], (np.arange(width) + 0.5) * pixel_m[1], indexing="ij")
    row = (x > 4) & (x < 28) & (y > 5 + (x > 12)) & (y < 15 + (x > 12))
    alone = (x > 31) & (x < 37) & (y > 5) & (y < 15)
    near_wall = (np.abs(x - 12) < 0.8) | (np.abs(x - 20) < 0.8)
    confidence = np.where(near_wall, 240 - dip, 240).astype(np.uint8)
    return row | alone, confidence


@given(pixel=st.sampled_from([0.1, 0.15, 0.25, 0.4, 0.5]), stretch=st.sampled_from([1.0, 1.3]))
def test_roofs_are_cut_at_their_walls(pixel: float, stretch: float) -> None:
    pixel_m = (pixel, pixel * stretch)
    mask, confidence = draw_roofs(dip=80, pixel_m=pixel_m)
    parts = split(mask, confidence, pixel_m)
    areas = np.sort(np.unique(parts[mask], return_counts=True)[1] * pixel_m[0] * pixel_m[1])
    assert len(areas) == 4
    np.testing.assert_allclose(areas, [60, 80, 80, 80], rtol=0.12)


def test_roofs_that_are_equally_sure_are_one() -> None:
    mask, confidence = draw_roofs(dip=0)
    assert len(np.unique(split(mask, confidence, PIXEL_M))) == 3


def test_two_places_that_are_equally_sure_do_not_make_two_roofs() -> None:
    """Of one roof the model is nearly as sure between them."""
    mask = np.zeros((30, 60), np.bool_)
    mask[5:25, 5:55] = True
    confidence = np.full(mask.shape, 250, np.uint8)
    confidence[10:20, 10:20] = confidence[10:20, 40:50] = 254
    assert len(np.unique(split(mask, confidence, PIXEL_M))) == 2


@given(
    field=arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 12)),
    depth=st.integers(1, 6),
)
def test_summits_are_those_of_morphology(field: NDArray[np.uint8], depth: int) -> None:
    """One on each regional maximum of the reconstruction below the field (Soille 2004, 6.3)."""
    height = np.where(field > 0, field.astype(int), -99)
    raised = np.where(field > 0, height - (depth - 1), -99)
    plus = ndimage.generate_binary_structure(2, 1)
    rebuilt = np.pad(reconstruction(raised, height, footprint=plus), 1, constant_values=-100)
    domes, count = ndimage.label(local_maxima(rebuilt, footprint=plus)[1:-1, 1:-1] & (field > 0))
    markers = find_summits(field, depth)
    assert sorted(domes[markers > 0]) == list(range(1, count + 1))
    assert markers[markers > 0].tolist() == list(range(1, count + 1))
    assert (field[markers > 0] == ndimage.maximum(field, domes, np.arange(1, count + 1))[domes[markers > 0] - 1]).all()


@st.composite
def scenes(draw: st.DrawFn) -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
    """Blobs, some of them in touch, and a confidence that comes and goes."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = draw(st.tuples(st.integers(20, 120), st.integers(20, 120)))
    sizes = draw(st.tuples(st.sampled_from([1.0, 3.0, 6.0]), st.sampled_from([0.5, 2.0, 4.0])))
    blobs, sure = (ndimage.gaussian_filter(rng.standard_normal(shape), size) for size in sizes)
    mask = blobs > np.quantile(blobs, draw(st.sampled_from([0.2, 0.5, 0.8])))
    confidence = np.clip(200 + 40 * sure / sure.std(), 90, 255).astype(np.uint8)
    return mask, confidence


@settings(max_examples=60)
@given(scene=scenes(), pixel=st.sampled_from([0.13, 0.4, 0.9]))
def test_parts_make_up_their_component(scene: tuple[NDArray[np.bool_], NDArray[np.uint8]], pixel: float) -> None:
    mask, confidence = scene
    parts = split(mask, confidence, (pixel, pixel))
    component, _ = ndimage.label(mask)
    assert ((parts > 0) == mask).all()
    sizes = np.bincount(parts.ravel())
    for number in np.unique(parts[mask]):
        mine = parts == number
        assert ndimage.label(mine)[1] == 1
        owners = np.unique(component[mine])
        assert len(owners) == 1
        others = np.unique(parts[component == owners[0]])
        assert sizes[number] * pixel * pixel >= LEAST_M2 or sizes[number] == sizes[others].max()


@settings(max_examples=60)
@given(scene=scenes(), count=st.sampled_from([8, 16]))
def test_parts_that_touch_have_different_colors(scene: tuple[NDArray[np.bool_], NDArray[np.uint8]], count: int) -> None:
    parts = split(*scene, PIXEL_M)
    colors = color_parts(parts, count)
    assert colors.max() < count
    for a, b, c, d in (
        (parts[:, 1:], parts[:, :-1], colors[:, 1:], colors[:, :-1]),
        (parts[1:], parts[:-1], colors[1:], colors[:-1]),
    ):
        meet = (a != b) & (a > 0) & (b > 0)
        assert (c[meet] != d[meet]).all()


@settings(max_examples=60)
@given(scene=scenes(), pixel=st.sampled_from([0.13, 0.4]), data=st.data())
def test_a_component_is_cut_the_same_in_every_window(
    scene: tuple[NDArray[np.bool_], NDArray[np.uint8]], pixel: float, data: st.DataObject
) -> None:
    """Its own pixels and their places in the raster decide."""
    mask, confidence = scene
    component, count = ndimage.label(mask)
    number = data.draw(st.integers(1, max(1, count)))
    box = ndimage.find_objects(component)[number - 1] if count else (slice(0, 1), slice(0, 1))
    window = tuple(
        slice(data.draw(st.integers(0, side.start)), data.draw(st.integers(side.stop, size)))
        for side, size in zip(box, mask.shape, strict=True)
    )
    cuts = []
    for at in (box, window):
        mine = component[at] == number
        other = np.where(mine, confidence[at], data.draw(st.integers(0, 255))).astype(np.uint8)
        parts = split_component(mine, other, (pixel, pixel), at=(at[0].start, at[1].start))
        cuts.append(None if parts is None else parts[mine].tolist())
    assert cuts[0] == cuts[1]
