"""A store on an S3 server (moto's, on this machine) that goes away in the middle of a class and comes back."""

import os
import time
from collections.abc import Iterator

import pandas as pd
import pytest
from gate import Gate
from results import CLASSES, assert_same_results, summarise, told

s3fs = pytest.importorskip("s3fs")
moto = pytest.importorskip("moto.server")

from xvcore.errors import StoreError  # noqa: E402
from xvcore.query import table  # noqa: E402
from xvcore.store import Store  # noqa: E402

QUICKLY = {"connect_timeout": 1, "read_timeout": 1, "retries": {"total_max_attempts": 1}}
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """The way to the server, which the environment names, as for a worker."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "FSSPEC_"))]:
        monkeypatch.delenv(name)
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    with Gate(server.get_host_and_port()) as gate:
        named = {"ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test", "DEFAULT_REGION": "us-east-1"}
        for name, value in (named | {"ENDPOINT_URL": f"http://127.0.0.1:{gate.port}"}).items():
            monkeypatch.setenv(f"AWS_{name}", value)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem().makedirs("s3://birds", exist_ok=True)  # moto forgets nothing in one process
        yield gate
        s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def test_a_client_does_not_wait_for_ever(gate: Gate) -> None:
    """Tries of its library and of the library beneath, seconds each: six minutes for a file."""
    filesystem = Store("s3://birds/patience").place.filesystem
    client = filesystem.connect()._client_config
    assert filesystem.retries * 5 * client.read_timeout <= 400
    assert client.connect_timeout <= client.read_timeout


HANGS = (
    "a PUT whose answer never comes was seen to wait for more than nine minutes in spite of read_timeout; not mended"
)


@pytest.mark.parametrize("state", ["closed", pytest.param("mute", marks=pytest.mark.skip(reason=HANGS))])
def test_a_store_out_of_reach_is_named_and_the_rest_is_done_once_it_is_back(
    undisturbed: Store, gate: Gate, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if state == "mute":  # as a user sets it who has less patience than we
        monkeypatch.setitem(s3fs.core.fsspec.config.conf, "s3", {"config_kwargs": QUICKLY})
    url = f"s3://birds/{state}"
    since: list[float] = []

    def goes_away(class_id: str, verb: str) -> None:
        if (class_id, verb) == (CLASSES[1], "mask") and not since:
            since.append(time.monotonic())
            gate.close() if state == "closed" else gate.mute()

    with pytest.raises(StoreError, match=rf"^cannot .* {url}/parts/.*{gate.port}") as error:
        summarise(url, progress=goes_away)
    seconds = time.monotonic() - since[0]

    gate.open()
    store = Store(url)
    assert store.status()["n_complete"].tolist() == [1]
    whole = table(store, "masks", class_id=CLASSES[0])
    summarise(url)
    assert_same_results(store, undisturbed)
    pd.testing.assert_frame_equal(table(store, "masks", class_id=CLASSES[0]), whole)
    told(f"store out of reach ({state})", seconds, str(error.value), "back again: the same request completes")
