"""What the section on security says that geoseg never does, claim by claim."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import rasterio
from onnx import TensorProto, helper

import geoseg
from geoseg import cli
from geoseg.errors import GeosegError, InputError, ModelError
from geoseg.legend import LAND_COVER
from geoseg.models.importing import import_onnx
from geoseg.models.package import load_package
from geoseg.raster.source import open_raster
from geoseg.view.server import open_server
from tests.conftest import CORNER, UTM, MakeRaster
from tests.invariance.running import GEOSEG, run_geoseg

PACKAGE = Path(geoseg.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")

UNPICKLING = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"}
UNPICKLING_CALLS = {"torch.load", "torch.jit.load", "torch.hub.load", "pandas.read_pickle", "joblib.load"}
RUNNING = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "os.startfile"),
    *("yaml.load", "yaml.unsafe_load", "runpy.run_path", "runpy.run_module"),
}
CLIENTS = {"urllib.request", "http.client", "requests", "httpx", "aiohttp", "ftplib", "smtplib", "pystac_client"}

MAY_START_PROCESSES = {"models/workspace.py"}
"""It runs this Python on code of geoseg's own, to measure memory."""

MAY_CALL = {"catalog"}
"""Parts that call hosts themselves: those that a user names as sources."""

# Tells of whatever could run foreign code or leave the machine, wherever in Python it happens.
AUDIT = """
import sys
WATCHED = ("pickle.find_class", "os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect",
           "socket.bind")
def hook(event, arguments):
    if event in WATCHED:
        sys.stderr.write(f"AUDIT {event} {arguments!r}\\n")
"""


def name_of(module: Path) -> str:
    return str(module.relative_to(PACKAGE))


@cache
def parse(module: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(module.read_text())))


def list_nodes(*kinds: type[ast.AST]) -> Iterator[tuple[str, Any]]:
    """Every node of these kinds in the package, and where it is."""
    for module in MODULES:
        for node in parse(module):
            if isinstance(node, kinds):
                yield f"{name_of(module)}:{getattr(node, 'lineno', 0)}", node


def list_calls() -> Iterator[tuple[str, str, dict[str | None, ast.expr]]]:
    """Place, name and keywords of every call."""
    for place, node in list_nodes(ast.Call):
        yield place, ast.unparse(node.func), {k.arg: k.value for k in node.keywords}


def list_imports() -> Iterator[tuple[str, str]]:
    """Place and full name of every imported module."""
    for place, node in list_nodes(ast.Import, ast.ImportFrom):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
        yield from ((place, name) for name in names)


class TestSource:
    def test_nothing_is_unpickled(self) -> None:
        assert not [(place, name) for place, name in list_imports() if name.split(".")[0] in UNPICKLING]
        for place, called, given in list_calls():
            assert called not in UNPICKLING_CALLS, place
            assert "weights_only" not in given, place
            if called in ("np.load", "numpy.load"):
                assert ast.unparse(given["allow_pickle"]) == "False", place

    def test_no_text_becomes_code(self) -> None:
        for place, called, given in list_calls():
            assert called not in RUNNING, place
            assert "register_custom_ops" not in called, place
            assert "shell" not in given, place
            if called == "importlib.import_module":
                assert place.startswith("__init__.py:"), f"{place}: whose names?"
            if called.startswith(("subprocess.", "os.spawn", "os.exec", "os.posix_spawn")):
                assert place.split(":")[0] in MAY_START_PROCESSES, place

    def test_only_named_sources_are_called(self) -> None:
        for place, name in list_imports():
            if any(name == client or name.startswith(f"{client}.") for client in CLIENTS):
                assert place.split("/")[0] in MAY_CALL, place

    def test_no_door_is_opened_to_others(self) -> None:
        for place, node in list_nodes(ast.Constant):
            assert node.value not in ("0.0.0.0", "::"), place
        clusters = [(place, given) for place, called, given in list_calls() if called.endswith("LocalCluster")]
        assert clusters
        for place, given in clusters:
            assert ast.unparse(given["host"]) == "'127.0.0.1'", place
            assert ast.unparse(given["dashboard_address"]) == "'127.0.0.1:0'", place

    def test_python_in_vrts_is_never_switched_on(self) -> None:
        for place, node in list_nodes(ast.keyword, ast.Dict):
            pairs = (
                [(node.arg, node.value)] if isinstance(node, ast.keyword) else zip(node.keys, node.values, strict=True)
            )
            for key, value in pairs:
                if getattr(key, "value", key) == "GDAL_VRT_ENABLE_PYTHON" and not place.startswith("doctor/"):
                    assert ast.unparse(value) == "'NO'", place


def audit(code: str, folder: Path) -> list[str]:
    """What a process that runs the code does of all that it should not."""
    imports, _, watched = code.partition("---\n")
    command = [sys.executable, "-c", f"{AUDIT}\n{imports}\nsys.addaudithook(hook)\n{watched}"]
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    return [line for line in done.stderr.splitlines() if line.startswith("AUDIT")]


class TestModels:
    def test_a_package_is_loaded_and_run_without_unpickling_or_calling_anybody(self, tmp_path: Path) -> None:
        run_geoseg("models", "export", "landcover-rgb-fast", tmp_path / "m.zip")
        found = audit(
            "import numpy as np, onnx, onnxruntime, os\n"
            "from geoseg.models.engine import PatchGeometry\n"
            "from geoseg.models.onnx_engine import OnnxEngine\n"
            "from geoseg.models.package import load_package\n"
            "os.environ['GEOSEG_CACHE'] = 'cache'\n"
            "---\n"
            "package = load_package('m.zip')\n"
            "engine = OnnxEngine(package, PatchGeometry(64, 0, 64, 64))\n"
            "engine.predict_probabilities(np.zeros((1, 3, 64, 64), np.uint8))\n",
            tmp_path,
        )
        assert found == []

    def test_the_audit_sees_what_it_should(self, tmp_path: Path) -> None:
        found = audit("import pickle, collections\n---\npickle.loads(pickle.dumps(collections.Counter()))\n", tmp_path)
        assert len(found) == 1
        assert "pickle.find_class" in found[0]

    def test_programs_in_a_package_are_not_run(self, tmp_path: Path) -> None:
        run_geoseg("models", "export", "landcover-rgb-fast", tmp_path / "m.zip")
        folder = tmp_path / "mine"
        subprocess.run([sys.executable, "-m", "zipfile", "-e", tmp_path / "m.zip", folder], check=True, timeout=600)
        for name in ("__init__.py", "hubconf.py", "model.py", "sitecustomize.py", "conftest.py"):
            (folder / name).write_text("open('ran', 'w')\n")
        code = (
            f"import os\nos.chdir({str(folder)!r})\nfrom geoseg.models.package import load_package\nload_package('.')\n"
        )
        subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, check=True, timeout=600)
        assert not (folder / "ran").exists()

    def test_no_link_of_a_package_is_followed(self, tmp_path: Path) -> None:
        """Neither loading nor showing asks a host that the description names; a foreign link is refused or ignored."""
        run_geoseg("models", "export", "landcover-rgb-fast", tmp_path / "m.zip")
        folder = tmp_path / "mine"
        subprocess.run([sys.executable, "-m", "zipfile", "-e", tmp_path / "m.zip", folder], check=True, timeout=600)
        item = json.loads((folder / "model.json").read_text())
        item["links"] = [*item["links"], {"rel": "derived_from", "href": "http://127.0.0.1:9/secret"}]
        for asset in item["assets"].values():
            asset["description"] = "http://127.0.0.1:9/asset"
        item["assets"]["extra"] = {"href": "http://127.0.0.1:9/weights.safetensors"}
        (folder / "model.json").write_text(json.dumps(item))
        code = (
            "from geoseg.errors import GeosegError\nfrom geoseg.models.package import load_package\n---\n"
            "try:\n    load_package('mine')\nexcept GeosegError:\n    pass\n"
        )
        assert audit(code, tmp_path) == []

    @pytest.mark.parametrize("place", ["../secret.bin", "{absolute}", "link.bin"])
    def test_an_imported_graph_reads_nothing_outside_of_its_folder(self, tmp_path: Path, place: str) -> None:
        secret = tmp_path / "secret.bin"
        secret.write_bytes(b"\1\2\3\4" * 12)
        folder = tmp_path / "model"
        folder.mkdir()
        (folder / "link.bin").symlink_to(secret)
        weights = helper.make_tensor("kernels", TensorProto.FLOAT, (4, 3, 1, 1), b"\0" * 48, raw=True)
        weights.ClearField("raw_data")
        weights.data_location = TensorProto.EXTERNAL
        for key, value in (("location", place.format(absolute=secret)), ("offset", "0"), ("length", "48")):
            weights.external_data.add(key=key, value=value)
        graph = helper.make_graph(
            [helper.make_node("Conv", ["images", "kernels"], ["classes"])],
            "thief",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, "h", "w"])],
            [helper.make_tensor_value_info("classes", TensorProto.FLOAT, ["n", 4, "h", "w"])],
            [weights],
        )
        path = folder / "thief.onnx"
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        path.write_bytes(model.SerializeToString())
        with pytest.raises(ModelError, match=r"thief\.onnx"):
            import_onnx(
                path,
                tmp_path / "out",
                name="thief",
                bands=("red", "green", "blue"),
                legend=LAND_COVER,
                ground_resolution_m=0.5,
                patch_px=64,
            )
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".pkl", ".bin"])
    def test_a_pickle_is_refused_unopened(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"model{suffix}"
        path.write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
        path.chmod(0)
        with pytest.raises(ModelError, match="pickle"):
            load_package(path)
        assert not Path("ran").exists()


class TestRasters:
    def make_vrt(self, folder: Path, function: str) -> Path:
        with rasterio.open(
            folder / "a.tif",
            "w",
            driver="GTiff",
            width=40,
            height=40,
            count=3,
            dtype="uint8",
            crs=UTM,
            transform=CORNER,
        ) as raster:
            raster.write(np.full((3, 40, 40), 7, np.uint8))
        band = (
            '<VRTRasterBand dataType="Byte" band="{i}" subClass="VRTDerivedRasterBand">{function}'
            '<SimpleSource><SourceFilename relativeToVRT="1">a.tif</SourceFilename><SourceBand>{i}</SourceBand>'
            "</SimpleSource></VRTRasterBand>"
        )
        bands = "".join(band.format(i=i, function=function) for i in (1, 2, 3))
        place = ",".join(map(str, CORNER.to_gdal()))
        text = (
            f'<VRTDataset rasterXSize="40" rasterYSize="40"><SRS>{UTM}</SRS><GeoTransform>{place}</GeoTransform>'
            f"{bands}</VRTDataset>"
        )
        (folder / "a.vrt").write_text(text)
        return folder / "a.vrt"

    def test_python_in_a_vrt_is_not_run(self, tmp_path: Path) -> None:
        function = (
            "<PixelFunctionType>steal</PixelFunctionType><PixelFunctionLanguage>Python</PixelFunctionLanguage>"
            f"<PixelFunctionCode><![CDATA[\nopen({str(tmp_path / 'ran')!r}, 'w')\n"
            "def steal(in_ar, out_ar, *args, **kwargs):\n    out_ar[:] = 1\n]]></PixelFunctionCode>"
        )
        with pytest.raises(InputError):
            open_raster(self.make_vrt(tmp_path, function))
        assert not (tmp_path / "ran").exists()

    def test_functions_that_gdal_has_itself_work(self, tmp_path: Path) -> None:
        path = self.make_vrt(tmp_path, "<PixelFunctionType>sum</PixelFunctionType>")
        assert open_raster(path).band_count == 3


class TestNetwork:
    def test_a_run_on_local_files_calls_nobody_and_opens_no_port(
        self, make_raster: MakeRaster, rgb_values: np.ndarray, tmp_path: Path
    ) -> None:
        make_raster(rgb_values)
        code = (
            "import geoseg.run.segment\n---\n"
            "geoseg.run.segment.segment('scene.tif', 'map.gpkg', workers=1, exact=True)\n"
        )
        found = [line for line in audit(code, tmp_path) if "socket" in line or "Popen" in line or "system" in line]
        assert found == []
        assert (tmp_path / "map.gpkg").exists()

    @pytest.mark.parametrize("device", ["cpu", "import"])
    def test_onnx_runtime_tells_nobody_of_models(self, tmp_path: Path, device: str) -> None:
        """Where it does, it gives this machine a number, and keeps that and what it will tell in the home."""
        runs = {
            "cpu": "package = load_package('landcover-rgb-fast')\n"
            "OnnxEngine(package, PatchGeometry(32, 0, 32, 32)).predict(np.zeros((1, 3, 32, 32), np.uint8))\n",
            "import": "import geoseg.models.importing, onnxruntime\nonnxruntime.get_all_providers()\n",
        }
        code = (
            "import numpy as np\nfrom geoseg.models.engine import PatchGeometry\n"
            "from geoseg.models.onnx_engine import OnnxEngine\nfrom geoseg.models.package import load_package\n"
        )
        # It also keeps quiet by itself in what looks like a test.
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("CI", "ORT_", "XDG_", "GITHUB"))}
        environment |= {"HOME": str(tmp_path), "PYTHONPATH": str(PACKAGE.parent)}
        subprocess.run([sys.executable, "-c", code + runs[device]], env=environment, check=True, timeout=600)
        assert not [f for f in tmp_path.rglob("*") if "Microsoft" in str(f) or "onnx" in f.name.lower()]

    def test_the_page_is_served_to_this_machine_only(self, make_raster: MakeRaster, tmp_path: Path) -> None:
        classes = make_raster(np.arange(4, dtype=np.uint8).repeat(100).reshape(1, 20, 20), "classes.tif")
        run_geoseg("polygonize", classes, "-o", tmp_path / "map.gpkg", "--quiet")
        with open_server(tmp_path / "map.gpkg") as server:
            port = server.server_address[1]
            own = [c for c in psutil.Process().net_connections("inet") if c.status == "LISTEN" and c.laddr.port == port]
            assert [c.laddr.ip for c in own] == ["127.0.0.1"]

    @pytest.mark.cluster
    def test_processes_of_a_run_listen_on_this_machine_only(self) -> None:
        code = (
            "import psutil, sys\n"
            "from geoseg.run.scheduler import open_scheduler\n"
            "if __name__ == '__main__':\n"
            "    with open_scheduler('local', 1):\n"
            "        me = psutil.Process()\n"
            "        for process in (me, *me.children(recursive=True)):\n"
            "            for c in process.net_connections('inet'):\n"
            "                if c.status == 'LISTEN': print(c.laddr.ip)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 0, done.stderr
        found = set(done.stdout.split())
        assert found
        assert found <= set(LOOPBACK)


class TestSecrets:
    @pytest.mark.parametrize(
        "arguments",
        [
            ["info", "http://me:hunter2@127.0.0.1:9/a.tif?X-Amz-Signature=hunter2"],
            ["segment", "http://127.0.0.1:9/a.tif?token=hunter2", "-o", "map.gpkg"],
            ["polygonize", "/vsicurl/http://me:hunter2@127.0.0.1:9/a.tif", "-o", "map.gpkg"],
            ["evaluate", "http://me:hunter2@127.0.0.1:9/a.tif", "b.tif"],
            ["view", "map.gpkg", "--image", "http://me:hunter2@127.0.0.1:9/a.tif"],
            ["load", "map.gpkg", "postgresql://me:hunter2@127.0.0.1:9/gis"],
            ["doctor"],
        ],
        ids=lambda a: a[0],
    )
    def test_no_command_shows_one(self, arguments: list[str], tmp_path: Path) -> None:
        environment = os.environ | {
            "AWS_SECRET_ACCESS_KEY": "hunter2",
            "GDAL_HTTP_USERPWD": "me:hunter2",
            "PGPASSWORD": "hunter2",
            "GDAL_HTTP_MAX_RETRY": "0",
            "PYTHONPATH": str(PACKAGE.parent),
        }
        done = subprocess.run(
            [*GEOSEG, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == (0 if arguments == ["doctor"] else 2), done.stderr
        assert "hunter2" not in done.stdout + done.stderr
        left = [f for f in tmp_path.rglob("*") if f.is_file() and b"hunter2" in f.read_bytes()]
        assert left == []

    def test_a_failure_of_the_program_shows_none(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def fail(_: object) -> None:
            raise RuntimeError("no answer from http://me:hunter2@127.0.0.1:9/a.tif?sig=hunter2")

        monkeypatch.setattr("geoseg.raster.describe.describe_raster", fail)
        monkeypatch.setattr("gc.freeze", lambda: None)  # this process does not end
        monkeypatch.setattr(sys, "argv", ["geoseg", "info", "a.tif"])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert end.value.code == 1
        told = capsys.readouterr().err
        assert "please report" in told
        assert "hunter2" not in told


def test_entities_of_a_style_are_not_expanded(make_raster: MakeRaster, tmp_path: Path) -> None:
    """Ten entities of ten, nine times over, are a billion: the style is left aside, at once."""
    classes = make_raster(np.arange(4, dtype=np.uint8).repeat(100).reshape(1, 20, 20), "classes.tif")
    run_geoseg("polygonize", classes, "-o", tmp_path / "map.fgb", "--quiet")
    names = "abcdefghij"
    bomb = "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in pairwise(names))
    text = f'<!DOCTYPE q [<!ENTITY a "ha">{bomb}]><q>&j;</q>'
    (tmp_path / "map.qml").write_text(text)
    run_geoseg("view", tmp_path / "map.fgb", "-o", tmp_path / "map.html")
    assert (tmp_path / "map.html").stat().st_size < 1e6


def test_a_toml_file_is_data(tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text('root = "$(touch ran)"\nseed = "!!python/object/apply:os.system [touch ran]"\n')
    with pytest.raises(GeosegError):
        geoseg.train(tmp_path / "job.toml", tmp_path / "out")
    assert not list(tmp_path.rglob("ran"))
