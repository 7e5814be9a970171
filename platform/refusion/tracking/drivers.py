"""Packages that some stores need, which only an extra of ours installs."""

from __future__ import annotations

import importlib.util

from refusion.errors import UserError

_NAME = "refusion-platform"
_EXTRAS = {"psycopg": "postgres", "boto3": "s3", "google.cloud.storage": "gcs"}
# Other drivers of databases, whose packages have not the names of their modules.
_PACKAGES = {"psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}
_OF_ARTIFACTS = {"s3": "boto3", "gs": "google.cloud.storage"}


def install_command(module: str) -> str:
    """Returns the command that installs a module.

    >>> install_command("psycopg"), install_command("pymysql")
    ("pip install 'refusion-platform[postgres]'", 'pip install pymysql')
    """
    extra = _EXTRAS.get(module)
    return f"pip install {_PACKAGES.get(module, module)}" if extra is None else f"pip install '{_NAME}[{extra}]'"


def require_artifact_driver(location: str, option: str) -> None:
    """Checks that artifacts can be written to a location.

    Args:
        location: address of a folder.
        option: names what the user has given, at the beginning of the sentence.

    Raises:
        UserError: a package is missing; names the extra that installs it.
    """
    module = _OF_ARTIFACTS.get(location.partition("://")[0])
    if module is not None and not _is_installed(module):
        raise UserError(
            f"{option}: {location} needs the package {module}, which is not installed: {install_command(module)}"
        )


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of a parent
        return False
