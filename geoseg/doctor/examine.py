"""Everything, one after the other; what cannot be looked at is a finding too."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from geoseg.doctor.caches import find_caches
from geoseg.doctor.drivers import find_drivers
from geoseg.doctor.environment import find_settings
from geoseg.doctor.findings import Examination, Finding
from geoseg.doctor.machine import find_devices
from geoseg.doctor.selftest import try_geoseg
from geoseg.doctor.versions import find_versions
from geoseg.progress import Progress, Silence

Look = Callable[[Progress], Iterator[Finding]]

SECTIONS: dict[str, Look] = {
    "versions": find_versions,
    "drivers": find_drivers,
    "devices": find_devices,
    "caches": find_caches,
    "environment": find_settings,
    "self-test": try_geoseg,
}


def examine(progress: Progress | None = None) -> Examination:
    """Look at versions, drivers, devices, caches and environment, and try geoseg on tiny data in a temporary folder.

    Args:
        progress: told of what takes a while.
    """
    progress = progress or Silence()
    return Examination(tuple(f for section in SECTIONS for f in _look(section, progress)))


def _look(section: str, progress: Progress) -> Iterator[Finding]:
    progress.start(section, None)
    try:
        yield from SECTIONS[section](progress)
    # Whatever a broken library raises when it is loaded is what the user wants to read.
    except Exception as error:
        told = f"{type(error).__name__}: {error}"
        yield Finding(
            section, "not looked at to its end", told, "failed", "install geoseg anew, in an empty environment"
        )
