"""Which packages a wheel holds, and where their files lie here; all else is in pyproject.toml.

The configurations lie beside the packages and are installed inside `orbit`: pyproject.toml
could say that only together with a list of all packages.
"""

from setuptools import find_packages, setup

FOLDERS = {"orbit.configs": "configs", "orbit.papers": "docs/papers"}
PACKAGES = ("orbit", "pipeline", "launch", "data_prep")
FOUND = find_packages(include=[*PACKAGES, *(f"{name}.*" for name in PACKAGES)])

setup(
    packages=[*FOUND, *FOLDERS],
    py_modules=["orbit_command"],
    package_dir=FOLDERS,
    package_data={
        **{name: ["*.yaml", "**/*.yaml"] for name in FOLDERS},
        "launch.reports.html": ["templates/*", "static/*"],
    },
)
