"""Prints the packages that the measurements need and this interpreter lacks, by the names that pip knows.

python -m gpu.needed [--without-tests]
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from importlib.util import find_spec

# Module and package; those of one line need one another.
PACKAGES = {
    "numpy": "numpy",
    "pydantic": "pydantic", "pydantic_core": "pydantic_core", "annotated_types": "annotated-types",
    "typing_inspection": "typing-inspection", "typing_extensions": "typing_extensions",
    "rich": "rich", "markdown_it": "markdown-it-py", "mdurl": "mdurl", "pygments": "Pygments",
    "yaml": "PyYAML", "safetensors": "safetensors", "psutil": "psutil",
    "cv2": "opencv-python-headless", "PIL": "pillow", "tifffile": "tifffile", "scipy": "scipy",
    "pyarrow": "pyarrow", "pandas": "pandas", "dateutil": "python-dateutil", "six": "six",
    "matplotlib": "matplotlib", "contourpy": "contourpy", "cycler": "cycler", "fontTools": "fonttools",
    "kiwisolver": "kiwisolver", "pyparsing": "pyparsing",
    "skimage": "scikit-image", "imageio": "ImageIO", "lazy_loader": "lazy-loader", "packaging": "packaging",
    "pytest": "pytest", "pytest_timeout": "pytest-timeout", "pluggy": "pluggy", "iniconfig": "iniconfig",
}  # fmt: skip
# Of the section "tests", which does without the others' rows and they without it.
OF_TESTS = {"pytest", "pytest_timeout", "pluggy", "iniconfig"}


def missing(without: Collection[str] = ()) -> list[str]:
    """Packages of PACKAGES that cannot be imported, but for those modules."""
    return [package for module, package in PACKAGES.items() if module not in without and find_spec(module) is None]


if __name__ == "__main__":
    print(*missing(OF_TESTS if "--without-tests" in sys.argv else ()))
