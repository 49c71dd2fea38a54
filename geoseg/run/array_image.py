"""Images that are arrays: where they are on Earth, as xarray and rioxarray say it."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.errors import CRSError

from geoseg.errors import InputError, OptionError
from geoseg.grid import GeoGrid
from geoseg.raster.reader import RasterSource
from geoseg.raster.scale import ByteScale

if TYPE_CHECKING:
    import xarray

CHUNK_PX = 1024
"""Side of the chunks of an image that has none."""


@dataclass(frozen=True)
class ArrayImage:
    """(bands, rows, cols) values on a grid; `dims` names its rows and columns, which may have coordinates."""

    values: da.Array | NDArray[Any]
    grid: GeoGrid
    nodata: float | None
    dims: tuple[Hashable, Hashable]
    coords: dict[Hashable, Any]

    @classmethod
    def of(cls, array: Any, *, crs: Any, transform: Affine | None, nodata: float | None) -> ArrayImage:
        """Check an array; what is given counts more than what rioxarray finds in it.

        Raises:
            InputError: it is not georeferenced, or is no image.
            OptionError: xarray or rioxarray is not installed.
        """
        dims: tuple[Hashable, Hashable] = "y", "x"
        coords: dict[Hashable, Any] = {}
        if isinstance(array, _import_xarray().DataArray):
            rio = array.rio
            with _translate_faults():
                dims = rio.y_dim, rio.x_dim
                crs = rio.crs if crs is None else crs
                transform = _find_transform(rio) if transform is None else transform
                nodata = rio.nodata if nodata is None else nodata
            coords = {dim: array.coords[dim] for dim in dims if dim in array.coords}
            array = array.transpose(..., *dims)
            array = (array if array.chunks else array.chunk(dict.fromkeys(dims, CHUNK_PX))).data
        values = array if isinstance(array, np.ndarray) else da.asanyarray(array)
        if values.ndim != 3 or values.dtype.kind not in "uif" or not np.isfinite(values.shape).all() or not values.size:
            raise InputError(
                f"an array of {values.dtype} {values.shape}",
                expected="real numbers of known shape (bands, y, x)",
                remedy="choose one time, and stack the bands: dataset.to_array('band')",
            )
        if crs is None or transform is None or transform.is_identity or transform.determinant == 0:
            raise InputError(
                f"an array with CRS {crs} and transform {transform and transform[:6]}",
                expected="an array whose place on Earth is known",
                remedy="array.rio.write_crs(...) and array.rio.write_transform(...), or give crs= and transform=",
            )
        try:
            wkt = rasterio.CRS.from_user_input(crs).to_wkt()
        except CRSError as error:
            raise InputError(f"CRS {crs}: {error}", expected="such as EPSG:32737") from error
        return cls(values, GeoGrid(wkt, transform, *values.shape[1:]), nodata, dims, coords)

    def describe(self, *, bands: int) -> RasterSource:
        """What the stages know about a raster, without a file behind it.

        Raises:
            InputError: it has too few bands.
        """
        if len(self.values) < bands:
            raise InputError(f"an array of {len(self.values)} band(s)", expected=f"{bands} or more")
        return RasterSource(
            path="",
            grid=self.grid,
            bands=tuple(range(1, bands + 1)),
            dtype=str(self.values.dtype),
            scale=ByteScale(),
            nodata=None if self.nodata is None else (float(self.nodata),) * bands,
        )

    def georeference(
        self, values: da.Array, name: str, attrs: dict[str, Any], *, nodata: int | None = None
    ) -> xarray.DataArray:
        """The result on the grid of the input, with its names of dimensions."""
        t, coords = self.grid.transform, self.coords
        if not coords and t.b == t.d == 0:
            centres = t.f + t.e * (np.arange(self.grid.rows) + 0.5), t.c + t.a * (np.arange(self.grid.cols) + 0.5)
            coords = dict(zip(self.dims, centres, strict=True))
        result = _import_xarray().DataArray(values, coords, self.dims, name, attrs)
        result = result.rio.set_spatial_dims(*self.dims[::-1]).rio.write_crs(self.grid.crs).rio.write_transform(t)
        if nodata is not None:
            result = result.rio.write_nodata(nodata)
        named: xarray.DataArray = result
        return named


@contextmanager
def _translate_faults() -> Iterator[None]:
    from rioxarray.exceptions import RioXarrayError  # noqa: PLC0415 (optional)

    try:
        yield
    except RioXarrayError as error:
        raise InputError(
            f"rioxarray does not understand the array: {error}", expected="dimensions x and y, evenly spaced"
        ) from error


def _find_transform(rio: Any) -> Affine:
    """What rioxarray knows, but from the coordinates where pixels were left out: it keeps the old pixel size."""
    written: Affine = rio.transform()
    if written.b != 0 or written.d != 0:
        return written
    measured: Affine = rio.transform(recalc=True)
    return written if np.allclose(written[:6], measured[:6], rtol=1e-9, atol=0) else measured


def _import_xarray() -> Any:
    try:
        import rioxarray  # noqa: F401, PLC0415 (optional)
        import xarray  # noqa: PLC0415 (optional)
    except ImportError as error:
        raise OptionError(
            f"{error.name} is not installed", expected="xarray and rioxarray", remedy="pip install 'geoseg[xarray]'"
        ) from error
    return xarray
