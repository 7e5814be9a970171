from __future__ import annotations

import pickle
import threading

import pyarrow.fs
import pytest
from clouds.object_store import Store

from refusion.buckets.faults import StoreRefusedError
from refusion.buckets.filesystem import open_uri, require_bucket
from refusion.errors import UserError


@pytest.mark.slow
def test_a_store_that_is_away_for_seconds_is_waited_for(store: Store) -> None:
    filesystem, path = open_uri("s3://ours/there.txt")
    store.put("there.txt", b"yes")
    store.away = True
    back = threading.Timer(8, lambda: setattr(store, "away", False))
    back.start()
    # pyarrow alone gives up after six.
    assert filesystem.open_input_stream(path).read() == b"yes"
    assert store.failed > 3


def test_it_waits_also_where_it_was_sent_to(store: Store) -> None:
    filesystem, path = open_uri("s3://ours/x?region=us-east-1")
    sent = pickle.loads(pickle.dumps(filesystem))
    assert sent == filesystem and path == "ours/x"
    store.every = 2
    with sent.open_output_stream(path) as stream:
        stream.write(b"1")
    assert [info.path for info in sent.get_file_info(pyarrow.fs.FileSelector("ours"))] == ["ours/x"]
    assert store.failed


def test_credentials_that_are_missing_are_said(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StoreRefusedError, match=r"^s3://ours: may not be used .+ set AWS_ACCESS_KEY_ID and "):
        require_bucket("s3://ours/x")


@pytest.mark.parametrize("uri", ["s3://", "s3:///x", "s3://ours/x?colour=red"])
def test_what_is_no_address_is_refused(uri: str) -> None:
    with pytest.raises(UserError, match=r"is no address in S3; write s3://BUCKET/FOLDER"):
        open_uri(uri)
