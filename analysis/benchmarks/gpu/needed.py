"""Prints the packages that the measurements need and this interpreter lacks, by the names that pip knows."""

from __future__ import annotations

from importlib.util import find_spec

# Module and package; those of one line need one another.
PACKAGES = {
    "numpy": "numpy",
    "pydantic": "pydantic", "pydantic_core": "pydantic_core", "annotated_types": "annotated-types",
    "typing_inspection": "typing-inspection", "typing_extensions": "typing_extensions",
    "rich": "rich", "markdown_it": "markdown-it-py", "mdurl": "mdurl", "pygments": "Pygments",
    "yaml": "PyYAML", "safetensors": "safetensors", "psutil": "psutil",
    "cv2": "opencv-python-headless", "PIL": "pillow", "tifffile": "tifffile", "scipy": "scipy",
    "pytest": "pytest", "pytest_timeout": "pytest-timeout", "pluggy": "pluggy", "iniconfig": "iniconfig",
    "packaging": "packaging",
}  # fmt: skip


def missing() -> list[str]:
    """Packages of PACKAGES that cannot be imported."""
    return [package for module, package in PACKAGES.items() if find_spec(module) is None]


if __name__ == "__main__":
    print(*missing())
