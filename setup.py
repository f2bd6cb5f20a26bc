"""Metadata and builds of monai_cavga; the tools' settings are in pyproject.toml."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from setuptools import Command, find_packages, setup
from setuptools.command.build import build

ROOT = Path(__file__).resolve().parent
PTH = "monai_cavga_cli.pth"


def read_version() -> str:
    """Read the version without importing the package, whose dependencies are not there during a build."""
    text = (ROOT / "monai_cavga" / "__init__.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if match is None:
        raise RuntimeError('monai_cavga/__init__.py has no line __version__ = "...": setup.py reads the version there')
    return match.group(1)


class build_pth(Command):  # noqa: N801 - setuptools names commands in lower case
    """Put the `.pth` at the root of the wheel, in a plain and in an editable one.

    Written to setuptools' documented `SubCommand` protocol. `data_files` is no substitute: it lands in a folder named
    after the Python version and is left out of editable installs.
    """

    description = "copy the .pth that makes `python -m monai.bundle run ... --config DIR` work"
    user_options = [("build-lib=", "d", "folder to build into")]  # noqa: RUF012 - setuptools' own form

    def initialize_options(self) -> None:
        self.build_lib = None
        self.editable_mode = False

    def finalize_options(self) -> None:
        self.set_undefined_options("build_py", ("build_lib", "build_lib"))

    def run(self) -> None:
        # An editable wheel leaves build_lib out; what is in install_lib, its unpacked folder, goes into it.
        folder = self.get_finalized_command("install").install_lib if self.editable_mode else self.build_lib
        Path(folder).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / PTH, Path(folder, PTH))

    def get_source_files(self) -> list[str]:
        return [PTH]

    def get_outputs(self) -> list[str]:
        return [str(Path(self.build_lib, PTH))]

    def get_output_mapping(self) -> dict[str, str]:
        return {str(Path(self.build_lib, PTH)): PTH}


class build_with_pth(build):  # noqa: N801
    """The usual build, then the `.pth`."""

    sub_commands = [*build.sub_commands, ("build_pth", None)]  # noqa: RUF012


VIDEO = ["av>=16"]
ONNX = ["onnx", "onnxscript", "onnxruntime"]
# pylibjpeg without its libjpeg plug-in (GPL), and no python-gdcm, which ends the process on a damaged file
DICOM = [
    "highdicom",
    "pynetdicom",
    "dicomweb-client",
    "tifffile",
    "imagecodecs",
    "pylibjpeg",
    "pylibjpeg-openjpeg",
    "pyjpegls",
]
RAY = ["ray"]
PLOTS = ["matplotlib"]
DOCS = ["mkdocs-material", "mkdocstrings[python]", "latex2mathml", "ruff"]  # ruff formats the signatures

setup(
    name="monai_cavga",
    version=read_version(),
    description="CAVGA for MONAI: anomaly maps from the attention of a convolutional variational autoencoder",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8") if (ROOT / "README.md").is_file() else "",
    long_description_content_type="text/markdown",
    author="monai_cavga contributors",
    license="Apache-2.0",
    license_files=["LICENSE"],
    keywords=["anomaly localization", "attention", "medical imaging", "MONAI", "retina", "VAE-GAN"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Healthcare Industry",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Scientific/Engineering :: Medical Science Apps.",
        "Typing :: Typed",
    ],
    python_requires=">=3.11",
    packages=find_packages(include=["monai_cavga", "monai_cavga.*"]),
    package_data={"monai_cavga": ["py.typed"]},
    cmdclass={"build": build_with_pth, "build_pth": build_pth},
    zip_safe=False,
    install_requires=[
        "torch>=2.6",
        "monai>=1.6",
        "pytorch-ignite",
        "numpy>=2",
        "scikit-image",
        "pydicom",
        "nibabel",
        "safetensors",
        "tensorboard",
        "tqdm",
        "fire",  # MONAI's command line needs it and does not require it
        "pillow",
    ],
    extras_require={
        "dicom": DICOM,
        "docs": DOCS,
        "onnx": ONNX,
        "plots": PLOTS,
        "ray": RAY,
        "video": VIDEO,
        "dev": [
            *("pytest", "ruff", "mypy", "captum", "scikit-learn", "jsonschema", "playwright", "torchmetrics"),
            *("jupytext", "nbclient", "ipykernel"),  # the tutorials
            *VIDEO,
            *ONNX,
            *DICOM,
            *PLOTS,
            *RAY,
            *DOCS,
        ],
    },
)
