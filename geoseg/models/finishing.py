"""The last steps of every new package: halo and memory measured, pictures and card added."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import ModelError, OutputError
from geoseg.files import replace_folder
from geoseg.models.card import write_card
from geoseg.models.engine import PatchGeometry
from geoseg.models.fields import matching
from geoseg.models.halo import SEAM_LIMIT, HaloMeasurement, Predict, measure_halo
from geoseg.models.manifest import MANIFEST, MAX_PICTURE_BYTES, PICTURE, ModelPackage
from geoseg.models.mosaic import extend_predict
from geoseg.models.onnx_engine import OnnxEngine
from geoseg.models.package import write_package
from geoseg.models.workspace import measure_workspace

LOG = logging.getLogger(__name__)
PNG = b"\x89PNG\r\n\x1a\n"


@contextmanager
def draft_folder(output: Path) -> Iterator[Path]:
    """An empty folder beside `output`, which becomes `output`, or vanishes if an exception was raised.

    Raises:
        OutputError: the folder cannot be written, or `output` holds something else than a package.
    """
    if output.name in ("", ".."):
        raise OutputError(f"output {output}", expected="a folder's own name", remedy="name a new folder")
    if output.exists() and not (output / MANIFEST).is_file() and not (output.is_dir() and not any(output.iterdir())):
        raise OutputError(
            f"{output} is there and is no model package",
            expected="a new folder, an empty one, or a package to be replaced",
            remedy="name another folder",
        )
    try:
        with replace_folder(output) as draft:
            yield draft
    except OSError as error:
        raise OutputError(f"{output}: {error}", expected="a folder that can be written") from error


def finish_package(
    package: ModelPackage,
    images: Sequence[NDArray[np.uint8]],
    *,
    summary: str,
    limits: str = "",
    pictures: Mapping[Path, str] | None = None,
    seam_limit: float = SEAM_LIMIT,
) -> ModelPackage:
    """Measure halo and memory of the package in a draft folder, add pictures and model card, and write all down.

    Args:
        package: a package that can be run, of unknown halo and memory.
        images: uint8 (B, H, W), 0 to 255, at the model's ground resolution, H and W at least a patch.
        summary: what the model is for, one paragraph of the model card.
        limits: where it is known to fail, one paragraph of the model card.
        pictures: PNG files for the card, of at most 1 MiB, and what they show.
        seam_limit: share of pixels, 0 to 1, that may differ from whole-image inference; more is warned of.

    Raises:
        ModelError: the package cannot be run, or a picture is none.
        OptionError: an image is smaller than a patch.
    """
    patch_px, shown = package.patch_px, pictures or {}
    for picture in shown:
        _copy_picture(picture, package.path)
    engine = OnnxEngine(package, PatchGeometry(patch_px, 0, patch_px, patch_px))
    predict: Predict = engine.predict_probabilities
    if not engine.takes_any_size:
        predict = extend_predict(predict, patch_px)
    halo = measure_halo(predict, images, patch_px=patch_px, limit=seam_limit)
    if halo.seam_error >= seam_limit:
        LOG.warning(
            "%s: no affordable halo hides the seams: at %d px %.2e of the pixels differ from whole-image inference",
            package.name,
            halo.halo_px,
            halo.seam_error,
        )
    package = replace(
        package,
        halo_px=halo.halo_px,
        seam_error=halo.seam_error,
        workspace_bytes_per_px=measure_workspace(package.path, patch_px, halo.halo_px),
        metrics={**package.metrics, "halo": _tell_halo(halo, engine.takes_any_size)},
    )
    captions = {path.name: text for path, text in shown.items()}
    return write_package(package, card=write_card(package, summary=summary, limits=limits, pictures=captions))


def _copy_picture(source: Path, folder: Path) -> None:
    try:
        data = source.read_bytes()
    except OSError as error:
        raise ModelError(f"picture {source}: {error.strerror or error}", expected="a PNG that can be read") from error
    if not data.startswith(PNG) or len(data) > MAX_PICTURE_BYTES or not matching(PICTURE)(source.name):
        raise ModelError(
            f"picture {source} of {len(data)} bytes",
            expected=f"a PNG of at most {MAX_PICTURE_BYTES} bytes, named in lower-case letters, digits, - and _",
        )
    (folder / source.name).write_bytes(data)


def _tell_halo(halo: HaloMeasurement, against_whole: bool) -> dict[str, object]:
    return {
        "patch_px": halo.patch_px,
        "against": "whole image" if against_whole else "inner halves of patches, since the input's size is fixed",
        "seam_error_by_halo_px": {str(h): e for h, e in halo.errors.items()},
    }
