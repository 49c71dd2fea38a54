"""Components of runs are those that scipy labels."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from scipy import ndimage

from geoseg.polygons.runs import count_runs, encode_runs, label_runs
from geoseg.polygons.touching import bound_components, paint_component

masks = arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=14), elements=st.integers(0, 1))


@given(masks)
def test_boxes_and_pixels_of_components(mask: NDArray[np.uint8]) -> None:
    runs = encode_runs(mask, np.empty((0, 0), np.uint8), count_runs(mask))
    component, components = label_runs(runs, np.eye(1, 256, dtype=np.uint8)[0])
    expected, count = ndimage.label(mask)
    assert components == count
    boxes = bound_components(runs, component, components)
    for number, (rows, cols) in enumerate(ndimage.find_objects(expected)):
        assert boxes[number].tolist() == [rows.start, cols.start, rows.stop, cols.stop]
        assert (paint_component(runs, component, number, boxes[number]) == (expected[rows, cols] == number + 1)).all()
