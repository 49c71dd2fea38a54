"""Packages as zips: the same package comes out, and nothing else."""

from __future__ import annotations

import os
import pickle
import shutil
import stat
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from geoseg.errors import ModelError, OptionError, OutputError
from geoseg.models.manifest import ModelPackage
from geoseg.models.package import load_package, write_package
from geoseg.models.sharing import export_package
from geoseg.models.verify import verify_package
from tests.models.test_package import CopyPackage

Repack = Callable[..., Path]


def test_a_zip_holds_the_package(package: ModelPackage, tmp_path: Path, cache: Path) -> None:
    zipped = tmp_path / "small.zip"
    export_package(package.path, zipped)
    found = load_package(zipped)
    assert (found.fingerprint, found.files) == (package.fingerprint, package.files)
    assert found.path.is_relative_to(cache)
    assert found == load_package(str(zipped)) == load_package(found.path)
    again = tmp_path / "again.zip"
    export_package(found.path, again)
    assert again.read_bytes() == zipped.read_bytes()


def test_a_zip_is_unpacked_once_and_again_where_its_copy_was_damaged(
    package: ModelPackage, tmp_path: Path, cache: Path
) -> None:
    zipped = tmp_path / "small.zip"
    export_package(package.path, zipped)
    folder = load_package(zipped).path
    before = (folder / "model.onnx").stat().st_mtime_ns
    assert load_package(zipped).path == folder
    assert (folder / "model.onnx").stat().st_mtime_ns == before
    assert [p.name for p in (cache / "models").iterdir()] == [folder.name]
    (folder / "model.onnx").write_bytes(b"changed")
    assert load_package(zipped).files == package.files
    assert (folder / "model.onnx").read_bytes() == package.graph.read_bytes()
    (folder / "weights.safetensors").unlink()
    assert verify_package(zipped).is_sound
    assert [p.name for p in (cache / "models").iterdir()] == [folder.name]


def test_another_package_in_the_place_of_the_copy_is_not_taken(
    copy_package: CopyPackage, tmp_path: Path, cache: Path
) -> None:
    copy, zipped = copy_package(), tmp_path / "small.zip"
    export_package(copy.path, zipped)
    folder = load_package(zipped).path
    write_package(replace(copy, path=folder, version="planted"), card="x")
    assert load_package(folder).version == "planted"
    assert load_package(zipped).version == copy.version
    shutil.rmtree(folder)
    folder.mkdir()
    assert load_package(zipped).version == copy.version


def test_export_refuses_other_suffixes(package: ModelPackage, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"\.zip"):
        export_package(package.path, tmp_path / "small.tar")
    with pytest.raises(OptionError, match=r"\.onnx"):
        export_package(package.path, tmp_path / "small.zip", onnx=True)


@pytest.fixture
def repack(package: ModelPackage, tmp_path: Path) -> Repack:
    """A zip of the package with one more entry, or another one in the place of its own."""

    def write(name: str | zipfile.ZipInfo, data: bytes = b"x", *, without: str = "") -> Path:
        path = tmp_path / "hostile.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in package.path.iterdir():
                if file.name != without:
                    archive.write(file, file.name)
            archive.writestr(name, data)
        return path

    return write


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    "name",
    [
        "../escaped.png",
        "../../model.json",
        "/tmp/escaped.png",
        "C:\\escaped.png",
        "folder/model.json",
        "folder/",
        "..",
        "setup.py",
        "model.json\0.png",
        ".hidden.png",
        "A.png",
    ],
)
def test_names_that_no_package_has_are_refused(repack: Repack, cache: Path, name: str) -> None:
    with pytest.raises(ModelError, match="without folders"):
        load_package(repack(name))
    assert not list(cache.rglob("*.*"))
    assert not list(cache.parent.glob("escaped*"))


def test_pickles_in_a_zip_are_refused_unopened(repack: Repack, tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "executed"),)

    with pytest.raises(ModelError, match="pickle"):
        load_package(repack("archive/data.pkl", pickle.dumps(Payload())))
    with pytest.raises(ModelError, match="pickle"):
        load_package(repack("data.pkl", pickle.dumps(Payload())))
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFDIR])
def test_links_and_devices_are_refused(repack: Repack, kind: int) -> None:
    entry = zipfile.ZipInfo("model.onnx")
    entry.external_attr = (kind | 0o777) << 16
    with pytest.raises(ModelError, match="no plain file"):
        load_package(repack(entry, b"/etc/passwd", without="model.onnx"))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_occurs_twice_is_refused(repack: Repack) -> None:
    with pytest.raises(ModelError, match="different names"):
        load_package(repack("README.md"))


def test_bombs_are_refused_by_what_they_declare(repack: Repack, cache: Path) -> None:
    with pytest.raises(ModelError, match="above"):
        load_package(repack("bomb.png", bytes(2**20 + 1)))
    with pytest.raises(ModelError, match="bytes from"):
        load_package(repack("weights.safetensors", bytes(2**24), without="weights.safetensors"))
    assert not list(cache.rglob("*.*"))


def test_bombs_that_declare_less_are_cut_off(repack: Repack, cache: Path) -> None:
    path = repack("weights.safetensors", bytes(2**24), without="weights.safetensors")
    data = path.read_bytes()
    assert data.count((2**24).to_bytes(4, "little")) >= 2
    path.write_bytes(data.replace((2**24).to_bytes(4, "little"), (1000).to_bytes(4, "little")))
    with pytest.raises(ModelError):
        load_package(path)
    assert not list(cache.rglob("*.*"))


def test_too_many_files_are_refused(package: ModelPackage, tmp_path: Path) -> None:
    path = tmp_path / "many.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(100):
            archive.writestr(f"picture-{i}.png", b"x")
    with pytest.raises(ModelError, match="100 entries"):
        load_package(path)


@pytest.mark.parametrize("size", [0, 1, 30, 1000, -40, -1])
def test_damaged_zips_are_refused(package: ModelPackage, tmp_path: Path, size: int) -> None:
    path = tmp_path / "cut.zip"
    export_package(package.path, path)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ModelError, match="zip"):
        load_package(path)


def test_an_entry_that_was_altered_is_refused(package: ModelPackage, tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "altered.zip"
    export_package(package.path, path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError):
        load_package(path)
    assert not list((cache / "models").iterdir())


def test_a_cache_that_cannot_be_written_is_named(
    package: ModelPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "small.zip"
    export_package(package.path, path)
    monkeypatch.setenv("GEOSEG_CACHE", str(path))
    with pytest.raises(OutputError, match="GEOSEG_CACHE"):
        load_package(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression_is_refused_unread(repack: Repack, cache: Path, method: int) -> None:
    entry = zipfile.ZipInfo("README.md")
    entry.compress_type = method
    with pytest.raises(ModelError, match="neither stored nor deflated"):
        load_package(repack(entry, b"text" * 100, without="README.md"))
    assert not list(cache.rglob("*.*"))


def test_malformed_headers_are_refused(package: ModelPackage, tmp_path: Path) -> None:
    path = tmp_path / "odd.zip"
    export_package(package.path, path)
    good = path.read_bytes()
    central = good.index(b"PK\1\2")
    end = good.rindex(b"PK\5\6")
    faults = {
        # A flag that says UTF-8, and a name that is none.
        "name": (central + 8, b"\x00\x08", central + 46, b"\xff\xfe"),
        # A local header that lies far beyond the file, or before it.
        "place": (central + 42, b"\xf0\xff\xff\x7f"),
        "directory": (end + 16, b"\xff\xff\xff\x7f"),
        "version": (central + 6, b"\xff\xff"),
        "method": (central + 10, b"\x63\x00"),
        "encrypted": (central + 8, b"\x01\x00"),
    }
    for fault in faults.values():
        data = bytearray(good)
        for place, new in zip(fault[::2], fault[1::2], strict=True):
            data[place : place + len(new)] = new
        path.write_bytes(data)
        with pytest.raises(ModelError):
            load_package(path)
