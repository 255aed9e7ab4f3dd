"""A store that is gone, or refuses: one sentence with the endpoint and a remedy, and no secret in it."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from resources import object_store
from resources.errors import SultanaError, TransientError
from resources.object_store import check_object_uri, client
from resources.tables import LanceTables
from tests.object_store.number_rows import content, put
from tests.object_store.store import BUCKET, KEY, SECRET, Store, start_store
from tests.web.conftest import free_port

ROOT = Path(__file__).parents[2]


@pytest.fixture
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store that a test may stop."""
    pytest.importorskip("moto", reason="needs what `make install` brings: sultana[dev]")
    with start_store(tmp_path) as store:
        for name, value in store.settings.items():
            monkeypatch.setenv(name, value)
        yield store


def test_a_store_that_is_gone_is_named_with_a_remedy_and_nothing_is_acknowledged(
    own_store: Store, tmp_path: Path
) -> None:
    tables = LanceTables(tmp_path / "lance", uri=f"s3://{BUCKET}/p")
    ref = put(tables, "1", "overwrite", "a")
    batches = tables.batches(ref, batch_size=1)
    assert next(batches).num_rows == 1
    own_store.process.kill()
    own_store.process.wait()
    for call in (
        lambda: put(tables, "2", "append", "b"),
        lambda: tables.read(ref),
        lambda: tables.head("numbers"),
        lambda: tables.check(),
    ):
        with pytest.raises(TransientError) as raised:
            call()
        assert raised.value.code == "object-store-unreachable"
        assert own_store.endpoint in raised.value.problem and "AWS_ENDPOINT_URL" in raised.value.remedy
        assert SECRET not in str(raised.value) and KEY not in str(raised.value)
    assert tables.versions("numbers") == [ref]


def test_a_store_that_goes_away_between_the_rows_and_the_commit(own_store: Store, tmp_path: Path) -> None:
    first = put(LanceTables(tmp_path / "lance", uri=f"s3://{BUCKET}/p"), "1", "overwrite", "a")

    def fence() -> None:  # asked right before the commit
        own_store.process.kill()
        own_store.process.wait()

    tables = LanceTables(tmp_path / "lance", fence)
    with pytest.raises(TransientError) as raised:
        put(tables, "2", "append", "b")
    assert raised.value.code == "object-store-unreachable" and own_store.endpoint in raised.value.problem
    assert tables.versions("numbers") == [first]


@pytest.mark.parametrize(
    ("changes", "uri", "code", "told"),
    [
        ({}, "s3://no-such-bucket/p", "object-store-refused", "Make the bucket"),
        (
            {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
            f"s3://{BUCKET}/p",
            "object-store-refused",
            "AWS_ACCESS_KEY_ID",
        ),
        ({"AWS_PROFILE": "nobody"}, f"s3://{BUCKET}/p", "object-store-refused", "AWS_PROFILE"),
        (
            {"AWS_ENDPOINT_URL": "http://192.0.2.7:9000"},
            f"s3://{BUCKET}/p",
            "object-store-unencrypted",
            "https",
        ),
        ({"AWS_ENDPOINT_URL": "nonsense"}, f"s3://{BUCKET}/p", "object-store-refused", "AWS"),
    ],
)
def test_what_is_refused_is_refused_before_anything_is_written(
    changes: dict[str, str],
    uri: str,
    code: str,
    told: str,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name, value in changes.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    caplog.set_level(logging.DEBUG, "resources")
    tables = LanceTables(tmp_path / "lance", uri=uri)
    with pytest.raises(SultanaError) as raised:
        put(tables, "1", "overwrite", "a")
    assert raised.value.code == code and told in raised.value.remedy
    assert SECRET not in str(raised.value) + caplog.text
    assert tables.versions("numbers") == []


def test_a_refused_signature_tells_nothing_that_was_signed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("moto", reason="needs what `make install` brings: sultana[dev]")
    monkeypatch.setenv("INITIAL_NO_AUTH_ACTION_COUNT", "1")  # to make the bucket
    with start_store(tmp_path) as store:
        for name, value in store.settings.items():
            monkeypatch.setenv(name, value)
        tables = LanceTables(tmp_path / "lance", uri=f"s3://{BUCKET}/p")
        with pytest.raises(SultanaError) as raised:
            put(tables, "1", "overwrite", "a")
        assert raised.value.code == "object-store-refused" and "InvalidAccessKeyId" in raised.value.problem
        assert KEY not in str(raised.value) and SECRET not in str(raised.value)
        assert raised.value.__suppress_context__


def test_an_endpoint_elsewhere_without_encryption_can_be_allowed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://192.0.2.7:9000")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    assert object_store.lance_options()["allow_http"] == "true"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://objects.example.org")
    assert "allow_http" not in object_store.lance_options()
    assert client().meta.config.s3["addressing_style"] == "path"


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("gs://bucket/p", "address-invalid"),
        ("s3://", "address-invalid"),
        ("s3://b/p", "address-invalid"),
        ("s3://Bucket/p", "address-invalid"),
        ("s3://bucket/../p", "address-invalid"),
        ("s3://bucket//p", "address-invalid"),
        ("s3://bucket/p q", "address-invalid"),
        ("s3+ddb://bucket/p", "address-invalid"),
        ("/data/lance", "address-invalid"),
        (f"s3://{KEY}:{SECRET}@bucket/p", "address-holds-password"),
        (f"s3://bucket/p?secret={SECRET}", "address-holds-password"),
    ],
)
def test_addresses_that_are_none(address: str, code: str, tmp_path: Path) -> None:
    with pytest.raises(SultanaError) as raised:
        LanceTables(tmp_path / "lance", uri=address)
    assert raised.value.code == code and SECRET not in str(raised.value)
    assert content(
        LanceTables(tmp_path / "lance"), put(LanceTables(tmp_path / "lance"), "1", "overwrite", "a")
    )


def test_an_address_is_one_however_it_ends() -> None:
    assert check_object_uri("s3://bucket/some/p/", "X") == "s3://bucket/some/p"
    assert check_object_uri("s3://bucket", "X") == "s3://bucket"


def test_without_the_package_it_is_named(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['boto3'] = None\n"
        "import importlib.util; importlib.util.find_spec = lambda name, *a: None\n"
        "from pathlib import Path\n"
        "from resources.tables import LanceTables\n"
        "from tests.object_store.number_rows import put\n"
        "put(LanceTables(Path(sys.argv[1]), uri='s3://bucket/p'), '1', 'overwrite', 'a')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "lance")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1 and "package-missing" in done.stderr and "sultana[s3]" in done.stderr


def test_a_port_where_nobody_listens_is_told_of_within_seconds(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(TransientError) as raised:
        put(LanceTables(tmp_path / "lance", uri=f"s3://{BUCKET}/p"), "1", "overwrite", "a")
    assert raised.value.code == "object-store-unreachable"
