from __future__ import annotations

from refusion.buckets.faults import StoreAwayError, told_of
from refusion.errors import MachineError, UserError


def test_errors_of_the_store_are_users_or_the_machines() -> None:
    begin = "When reading information for key 'runs/x' in bucket 'ours': AWS Error "
    refused = told_of(f"{begin}ACCESS_DENIED during HeadObject operation: No response body.", "ours")
    away = told_of(
        f"{begin}NETWORK_CONNECTION during HeadObject operation: curlCode: 7, no; Details: at length", "ours"
    )
    moved = told_of(f"{begin}UNKNOWN (HTTP status 301) during HeadObject operation: No response body.", "ours")
    fault = told_of(f"{begin}UNKNOWN (HTTP status 500) during HeadObject operation: No response body.", "ours")
    assert isinstance(refused, UserError) and isinstance(moved, UserError) and "AWS_REGION" in str(moved)
    assert isinstance(away, MachineError) and isinstance(away, OSError) and isinstance(fault, StoreAwayError)
    assert str(away).startswith(
        "s3://ours/runs/x: the store does not answer, after all retries (NETWORK_CONNECTION at HeadObject, "
        "curlCode: 7, no);"
    )
    assert told_of("No space left on device", "ours") is None
