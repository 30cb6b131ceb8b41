"""Test that programs are uploaded only once."""

import numpy as np
from numpy.typing import NDArray

from asyncbatch import BatchExecutor
from asyncbatch.wire.manifest import program_key
from tests.integration.endpoint import Endpoint

SIZE = 100_000_000


def element(table: NDArray[np.uint8], tile: int) -> int:
    return int(table[tile])


def count_uploads(endpoint: Endpoint) -> int:
    """Return the number of uploaded objects, including parts."""
    return endpoint.count("s3:PutObject") + endpoint.count("s3:CompleteMultipartUpload")


def test_shared_arguments_of_100_mb_are_uploaded_once(endpoint: Endpoint) -> None:
    table = np.random.default_rng(0).integers(0, 256, SIZE, dtype=np.uint8)
    puts, heads = [], []
    for tiles in (64, 1):
        put, head = count_uploads(endpoint), endpoint.count("s3:HeadObject")
        with BatchExecutor(1, launcher="subprocess", settings=endpoint.settings(lease=300.0)) as pool:
            program = pool.program(element, table)
            assert list(pool.map(program, range(tiles))) == table[:tiles].tolist()
        puts.append(count_uploads(endpoint) - put)
        heads.append(endpoint.count("s3:HeadObject") - head)
    key = program_key(program.digest)
    assert endpoint.s3.head_object(Bucket=endpoint.bucket, Key=key)["ContentLength"] >= SIZE
    # The manifest, two heartbeats and the program, which the second run finds in the bucket.
    assert puts == [4, 3]
    assert heads == [1, 1]
    endpoint.s3.delete_object(Bucket=endpoint.bucket, Key=key)
