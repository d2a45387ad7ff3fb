"""The wheel and the sdist hold the package, and all of it works from there.

Nothing is downloaded: they are built with what the environment has.
"""

import email
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import keras_dropx

ROOT = Path(__file__).parents[2]
VERSION = keras_dropx.__version__
WHEEL = f"keras_dropx-{VERSION}-py3-none-any.whl"
EXTRAS = (
    "tensorflow jax tensorboard tuner experiments onnx hub gpu-plan core-test"
    " test docs all"
)


def run(*command, cwd, **environment):
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of the project without leftovers of other builds."""
    folder = tmp_path_factory.mktemp("source") / "project"
    leftovers = (".*", "*.egg-info", "__pycache__", "build", "dist", "results")
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*leftovers))
    return folder


@pytest.fixture(scope="module")
def packaged(source):
    """Paths of the files that are to be installed."""
    files = {
        str(path.relative_to(source))
        for package in ("keras_dropx", "dropx")
        for path in (source / package).rglob("*")
        if path.is_file()
    }
    # What would go missing without a word.
    for name in (
        "py.typed",
        "layers/gaaf.py",
        "experiments/papers/claims.csv",
    ):
        assert f"keras_dropx/{name}" in files
    assert "dropx/__main__.py" in files
    return files


@pytest.fixture(scope="module")
def built(source, tmp_path_factory):
    """The folder of the sdist and of the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    build = (sys.executable, "-m", "build", "--no-isolation", "--outdir")
    run(*build, folder, source, cwd=source.parent)
    names = {path.name for path in folder.iterdir()}
    assert names == {WHEEL, f"keras_dropx-{VERSION}.tar.gz"}
    return folder


@pytest.fixture(scope="module")
def wheel_metadata(built):
    with zipfile.ZipFile(built / WHEEL) as wheel:
        text = wheel.read(f"keras_dropx-{VERSION}.dist-info/METADATA")
    return email.message_from_bytes(text)


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """A folder with nothing but what the wheel installs."""
    folder = tmp_path_factory.mktemp("installed")
    pip = (sys.executable, "-m", "pip", "install", "--no-deps", "--no-index")
    run(*pip, "--target", folder, built / WHEEL, cwd=folder)
    return folder


@pytest.fixture
def python(installed, tmp_path):
    """Returns `python(*arguments)`, run far from the sources."""

    def start(*arguments):
        return run(
            *(sys.executable, *arguments),
            cwd=tmp_path,
            PYTHONPATH=str(installed),
            PYTHONSAFEPATH="1",
        )

    return start


def test_wheel_holds_the_files_of_the_package_and_no_others(built, packaged):
    with zipfile.ZipFile(built / WHEEL) as wheel:
        names = set(wheel.namelist())
        about = f"keras_dropx-{VERSION}.dist-info"
        assert names == packaged | {
            f"{about}/{name}"
            for name in (
                "METADATA",
                "RECORD",
                "WHEEL",
                "entry_points.txt",
                "licenses/LICENSE",
                "top_level.txt",
            )
        }
        for path in packaged:
            assert wheel.read(path) == (ROOT / path).read_bytes()
        license = wheel.read(f"{about}/licenses/LICENSE")
        assert license == (ROOT / "LICENSE").read_bytes()


def test_sdist_holds_what_the_wheel_is_made_of_and_no_more(built, packaged):
    name = f"keras_dropx-{VERSION}"
    with tarfile.open(built / f"{name}.tar.gz") as sdist:
        files = {
            file.name.removeprefix(f"{name}/")
            for file in sdist.getmembers()
            if file.isfile()
        }
    made = {file for file in files if file.startswith("keras_dropx.egg-info/")}
    assert files - made == packaged | {
        "LICENSE",
        "MANIFEST.in",
        "PKG-INFO",
        "README.md",
        "pyproject.toml",
        "setup.cfg",
        "setup.py",
    }


def test_wheel_of_the_sources_is_that_of_the_sdist(built, source, tmp_path):
    copy = tmp_path / "source"
    shutil.copytree(source, copy)
    pip = (sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-index")
    run(*pip, "--no-build-isolation", "-w", tmp_path, copy, cwd=tmp_path)
    contents = []
    for path in (tmp_path / WHEEL, built / WHEEL):
        with zipfile.ZipFile(path) as wheel:
            contents.append({n: wheel.read(n) for n in wheel.namelist()})
    assert contents[0] == contents[1]


def test_metadata_says_what_it_is(wheel_metadata):
    values = {
        "Name": "keras-dropx",
        "Version": VERSION,
        "Author": "The keras_dropx developers",
        "License-Expression": "Apache-2.0",
        "License-File": "LICENSE",
        "Requires-Python": ">=3.11",
        "Description-Content-Type": "text/markdown",
    }
    assert {name: wheel_metadata[name] for name in values} == values
    assert "jumpout" in wheel_metadata["Keywords"].split(",")
    readme = (ROOT / "README.md").read_text().strip()
    assert wheel_metadata.get_payload(decode=True).decode().strip() == readme
    # An address that nobody has answered under is worse than none.
    for name in ("Home-page", "Project-URL", "Author-email"):
        assert name not in wheel_metadata


def test_extras_are_complete(wheel_metadata):
    extras = wheel_metadata.get_all("Provides-Extra")
    assert sorted(extras) == sorted(EXTRAS.split())
    requirements = [
        Requirement(text) for text in wheel_metadata.get_all("Requires-Dist")
    ]
    for extra in extras:
        assert any(
            x.marker and x.marker.evaluate({"extra": extra})
            for x in requirements
        )


def test_what_is_required_is_there(wheel_metadata):
    needed = [
        requirement
        for requirement in map(
            Requirement, wheel_metadata.get_all("Requires-Dist")
        )
        if not requirement.marker or requirement.marker.evaluate({"extra": ""})
    ]
    assert {requirement.name for requirement in needed} == {"keras", "numpy"}
    for requirement in needed:
        version = metadata.version(requirement.name)
        assert requirement.specifier.contains(version, prereleases=True)


def test_entry_point_is_the_program(installed):
    (package,) = metadata.distributions(path=[str(installed)])
    (point,) = package.entry_points
    assert (point.group, point.name) == ("console_scripts", "dropx")
    assert point.value == "dropx:main"


@pytest.mark.full
def test_quick_start_runs_from_the_wheel_alone(python, installed):
    script = f"""
import runpy
runpy.run_path({str(ROOT / "examples" / "quick_start.py")!r})
import keras_dropx
print(keras_dropx.__file__)
"""
    trained, reloaded, file = python("-c", script).splitlines()
    assert trained.split(":")[1] == reloaded.split(":")[1]
    assert file == str(installed / "keras_dropx" / "__init__.py")


def test_program_runs_from_the_wheel_alone(python, installed):
    line = f"dropx {VERSION}\n"
    assert python("-m", "dropx", "--version") == line
    assert python(installed / "bin" / "dropx", "--version") == line
