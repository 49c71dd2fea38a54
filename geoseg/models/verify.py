"""Everything that can be wrong with a package, found without stopping at the first fault."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from geoseg.errors import GeosegError, ModelError
from geoseg.models.archive import unpack_archive
from geoseg.models.engine import PatchGeometry
from geoseg.models.generated import generate_image
from geoseg.models.manifest import ModelPackage
from geoseg.models.onnx_engine import OnnxEngine
from geoseg.models.package import check_file, find_package, read_manifest
from geoseg.models.weights import check_finite, read_weights_header

MAX_DIFFERENCE, MIN_SAME_CLASS = 1e-3, 0.999
MAX_SIDE_PX = 512


@dataclass(frozen=True)
class Verification:
    """What was looked at and what was wrong.

    Args:
        path: directory of the package, unpacked where it was a zip.
        passed: the checks without a fault.
        faults: one message a fault; none in a sound package.
    """

    path: Path
    passed: tuple[str, ...]
    faults: tuple[str, ...]

    @property
    def is_sound(self) -> bool:
        """Whether there is no fault."""
        return not self.faults

    def format(self) -> str:
        """A line a check, then the faults."""
        lines = [*(f"ok     {text}" for text in self.passed), *(f"FAULT  {text}" for text in self.faults)]
        return "\n".join(lines)


def verify_package(name_or_path: str | Path) -> Verification:
    """Check a package's description, checksums, weights and graphs, and ONNX Runtime's answers against torch's.

    Raises:
        ModelError: there is no such package, its zip is refused, or its description cannot be read.
        OutputError: a zip cannot be unpacked.
    """
    found = find_package(name_or_path)
    path = found if found.is_dir() else unpack_archive(found, anew=True)
    package = read_manifest(path)
    log = _Log()
    log.passed.append("description")
    for file in package.files:
        with log.noting(f"checksum of {file.name}"):
            check_file(path, file)
    with log.noting("weights"):
        check_finite(package.weights, read_weights_header(package.weights))
    variants = [package, replace(package, refine=False)] if package.has_refiner else [package]
    for variant in variants:
        with log.noting(f"{variant.graph.name}: operators, weights, probabilities"):
            _check_answer(variant)
        if package.network:
            with log.noting(f"{variant.graph.name}: the same answers as torch"):
                _compare(variant)
    return Verification(path, tuple(log.passed), tuple(log.faults))


class _Log:
    def __init__(self) -> None:
        self.passed: list[str] = []
        self.faults: list[str] = []

    @contextmanager
    def noting(self, check: str) -> Iterator[None]:
        try:
            yield
        # A third-party library may raise anything at a broken file, and a fault must not hide the next.
        except Exception as error:
            told = error.found if isinstance(error, GeosegError) else f"{type(error).__name__}: {error}"
            self.faults.append(f"{check}: {told}")
        else:
            self.passed.append(check)


def _compare(package: ModelPackage) -> None:
    from geoseg.models.torch_engine import TorchEngine  # noqa: PLC0415 (torch takes seconds and 200 MB)

    geometry = _choose_geometry(package)
    image = generate_image(len(package.bands), geometry.patch_px)[None]
    found = OnnxEngine(package, geometry).predict_probabilities(image)
    wanted = TorchEngine(package, geometry).predict_probabilities(image)
    difference, same = float(np.abs(found - wanted).max()), float((found.argmax(1) == wanted.argmax(1)).mean())
    if not (difference <= MAX_DIFFERENCE and same >= MIN_SAME_CLASS):
        raise ModelError(
            f"probabilities differ by up to {difference:.2g}, {same:.2%} of the classes agree",
            expected=f"at most {MAX_DIFFERENCE:g}, and at least {MIN_SAME_CLASS:.1%}",
        )


def _check_answer(package: ModelPackage) -> None:
    engine = OnnxEngine(package, _choose_geometry(package))
    answer = engine.predict_probabilities(generate_image(engine.bands, engine.geometry.patch_px)[None])
    side = engine.geometry.patch_px
    if answer.shape != (1, len(package.legend), side, side):
        raise ModelError(
            f"an answer of shape {answer.shape} to an image of {side} px", expected="a value for each class and pixel"
        )
    if not (np.isfinite(answer).all() and np.abs(answer.sum(axis=1) - 1).max() <= MAX_DIFFERENCE):
        raise ModelError("answers that are no probabilities", expected="finite values that add up to 1")


def _choose_geometry(package: ModelPackage) -> PatchGeometry:
    """The whole patch where the graph takes no other, else at most 512 px of it."""
    side = package.patch_px
    if side > MAX_SIDE_PX and OnnxEngine(package, PatchGeometry(side, 0, side, side)).takes_any_size:
        side = MAX_SIDE_PX
    return PatchGeometry(side, 0, side, side)
