from __future__ import annotations

import pytest

from refusion.errors import UserError
from refusion.tracking import drivers
from refusion.tracking.drivers import require_artifact_driver


@pytest.mark.parametrize(("location", "extra"), [("s3://bucket/art", "s3"), ("gs://bucket/art", "gcs")])
def test_a_missing_driver_of_artifacts_names_the_extra(
    location: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drivers, "_is_installed", lambda _module: False)
    with pytest.raises(UserError, match=rf"^the artifacts: {location} needs .*'refusion-platform\[{extra}\]'$"):
        require_artifact_driver(location, "the artifacts")


@pytest.mark.parametrize("location", ["/a/b", "file:///a", "mlflow-artifacts:/1", "dbfs:/x"])
def test_other_places_need_none(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drivers, "_is_installed", lambda _module: False)
    require_artifact_driver(location, "the artifacts")


def test_what_is_installed_is_found() -> None:
    assert drivers._is_installed("os.path") and not drivers._is_installed("no_such_package.storage")
