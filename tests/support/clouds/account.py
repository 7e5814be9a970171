"""An AWS account of moto's, in this process: no request leaves it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import boto3
import pytest

REGION, BUCKET, ACCOUNT = "us-west-2", "runs-of-ours", "123456789012"
IMAGE = "Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 22.04)"


@contextmanager
def account() -> Iterator[None]:
    """An account with a default VPC, a bucket, and two of AWS's images."""
    # Here, since every process of tests imports this module, and moto takes two seconds.
    from moto import mock_aws

    with pytest.MonkeyPatch.context() as patch, mock_aws():
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        boto3.client("s3", region_name=REGION).create_bucket(
            Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        for date in ("20260901", "20261001"):
            publish_image(f"{IMAGE} {date}", f"{date[:4]}-{date[4:6]}-01")
        yield


def publish_image(name: str, created: str) -> str:
    """Have AWS publish an image on a day, as 2026-11-01; returns its ID."""
    from moto.ec2.models import ec2_backends

    backend: Any = ec2_backends[ACCOUNT][REGION]
    base = next(iter(backend.amis.values()))
    made = backend.register_image(name=name, description="")
    made.owner_id, made.owner_alias, made.creation_date, made.public = (
        base.owner_id,
        "amazon",
        datetime.fromisoformat(created),
        True,
    )
    return str(made.id)
