import pathlib
import re

from setuptools import find_packages, setup

ROOT = pathlib.Path(__file__).parent
VERSION = re.search(
    r'^__version__ = "(.+)"$',
    (ROOT / "keras_dropx" / "__init__.py").read_text(),
    re.MULTILINE,
).group(1)

# Fill in once the project has a place: {"Source": …, "Documentation": …,
# "Changelog": …}. The wheel shows them; while it is empty it shows none.
PROJECT_URLS = {}

TENSORFLOW = ["tensorflow>=2.21"]
JAX = ["jax>=0.10"]
# A compiler for a GPU that is not there: jax and its plugin fit each other.
GPU_PLAN = ["jax==0.10.2", "jax-cuda12-pjrt==0.10.2"]
TENSORBOARD = [*TENSORFLOW, "tensorboard>=2.21"]
# keras-tuner imports six, tensorflow-datasets imports importlib_resources;
# neither declares it. Private names of keras-tuner are in use.
TUNER = ["keras-tuner>=1.4.8,<1.5", "six"]
EXPERIMENTS = [
    *TENSORFLOW,
    "tensorflow-datasets>=4.9.10",
    "importlib_resources",
    "scikit-learn",
    "scipy",
    "markdown",
    "matplotlib",
    "rich",
]
# What the tests of other people's models need, and the guide on transformers.
HUB = [*TENSORFLOW, "keras-hub>=0.32", "keras-tcn"]
ONNX = ["onnx", "onnxruntime", "tf2onnx"]
CORE_TEST = [
    "pytest>=8",
    "pytest-cov",
    "pytest-xdist>=3.7",
    "hypothesis",
    "matplotlib",
]
RUFF = ["ruff==0.17.5"]
TEST = [
    *CORE_TEST,
    *EXPERIMENTS,
    *TUNER,
    *JAX,
    *ONNX,
    *TENSORBOARD,
    "selenium>=4.20",
    *RUFF,
    # The wheel, its metadata, the workflow files.
    "build",
    "packaging",
    "pyyaml",
    "setuptools>=77",
]
# ruff lays the signatures out.
DOCS = ["linkchecker", "mkdocs-material>=9.6", "mkdocstrings[python]>=1", *RUFF]

setup(
    name="keras-dropx",
    version=VERSION,
    description=(
        "Dropout for Keras 3 with separate forward and backward masks, "
        "Jumpout and GAAF"
    ),
    long_description=(ROOT / "README.md").read_text(),
    long_description_content_type="text/markdown",
    author="The keras_dropx developers",
    project_urls=PROJECT_URLS,
    license_expression="Apache-2.0",
    license_files=["LICENSE"],
    keywords=[
        "keras",
        "dropout",
        "regularization",
        "jumpout",
        "gaaf",
        "tensorflow",
        "jax",
        "pytorch",
    ],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    python_requires=">=3.11",
    packages=find_packages(include=["dropx", "keras_dropx", "keras_dropx.*"]),
    # Setuptools adds py.typed of itself.
    package_data={"keras_dropx.experiments.papers": ["*.csv"]},
    install_requires=["keras>=3.13", "numpy"],
    extras_require={
        "tensorflow": TENSORFLOW,
        "jax": JAX,
        "tensorboard": TENSORBOARD,
        "tuner": TUNER,
        "experiments": EXPERIMENTS,
        "onnx": ONNX,
        "hub": HUB,
        "gpu-plan": GPU_PLAN,
        "core-test": CORE_TEST,
        "test": TEST,
        "docs": DOCS,
        "all": sorted({*TEST, *DOCS}),
    },
    entry_points={"console_scripts": ["dropx = dropx:main"]},
)
