"""Addresses of object stores, and the environment: one set of variables for what is read and what is written."""

import pytest
from odc.loader._rio import rio_env

from geoseg.errors import RecipeError
from geoseg.imagery.loader import _PatientDriver
from geoseg.imagery.reading import gdal_env, server_options
from geoseg.object_storage import connection_of, gdal_options
from geoseg.recipe import Recipe

SECRET = "very-secret-key"
ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_S3_ENDPOINT", "AWS_HTTPS", "AWS_VIRTUAL_HOSTING")


@pytest.fixture(autouse=True)
def no_environment(monkeypatch, tmp_path):
    for name in (*ENDPOINTS, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


@pytest.mark.parametrize("key", ["out", "store"])
@pytest.mark.parametrize(
    ("address", "what"),
    [
        ("ftp://bucket/map", "is no address of an object store: give s3://bucket/folder"),
        ("https://host/map", "is no address of an object store"),
        (f"s3://me:{SECRET}@bucket/map", "has keys or a query in it"),
        (f"s3://bucket/map?X-Amz-Signature={SECRET}", "has keys or a query in it"),
        (f"az://container/map#{SECRET}", "has keys or a query in it"),
        ("s3:///map", "has no bucket"),
        ("file://host/map", "or one too many"),
        ("s3://bucket/../map", r"has '\.\.' in it"),
        ("s3://bucket//map", "has an empty folder in it"),
        ("s3://bucket/map\nnext", "in it: give s3"),
    ],
)
def test_what_is_no_address_is_refused_in_one_line(key, address, what):
    with pytest.raises(RecipeError, match=what) as caught:
        Recipe.resolve(None, image=("a.tif",), **{key: address})
    assert SECRET not in str(caught.value)


def test_addresses_lose_their_last_slash_and_files_are_folders():
    made = Recipe(image=("a.tif",), out="s3://bucket/maps/{month}/", store="file:///shared/parts/")
    assert (made.out, made.store) == ("s3://bucket/maps/{month}", "file:///shared/parts")
    assert Recipe(image=("a.tif",), out="file:///shared/my map").out == "/shared/my map"


@pytest.mark.parametrize(
    ("environment", "endpoint", "host"),
    [
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9000"}, "http://127.0.0.1:9000", "127.0.0.1:9000"),
        ({"AWS_ENDPOINT_URL_S3": "https://s3.my.org/"}, "https://s3.my.org/", "s3.my.org"),
        (
            {"AWS_S3_ENDPOINT": "127.0.0.1:9000", "AWS_HTTPS": "NO", "AWS_VIRTUAL_HOSTING": "FALSE"},
            "http://127.0.0.1:9000",
            "127.0.0.1:9000",
        ),
        ({"AWS_S3_ENDPOINT": "s3.my.org"}, "https://bucket.s3.my.org", "s3.my.org"),
        ({}, None, None),
    ],
)
def test_reads_and_writes_are_led_to_the_same_server(environment, endpoint, host, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    how = connection_of("s3://bucket/map")
    assert how.config.get("endpoint") == endpoint
    assert how.allow_http == (endpoint or "").startswith("http:")
    chosen = {**gdal_options(), **environment}
    assert chosen.get("AWS_S3_ENDPOINT") == host
    if host is not None:
        is_virtual = chosen.get("AWS_VIRTUAL_HOSTING", "TRUE") != "FALSE"
        assert endpoint.rstrip("/").endswith(f"//{'bucket.' * is_virtual}{host}")
        assert endpoint.startswith("http:") == (chosen.get("AWS_HTTPS", "YES") == "NO")


def test_the_server_of_a_catalog_goes_before_that_of_the_environment(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000")
    assert gdal_env().options["AWS_S3_ENDPOINT"] == "127.0.0.1:9000"
    assert gdal_env({"AWS_S3_ENDPOINT": "eodata"}).options["AWS_S3_ENDPOINT"] == "eodata"


def test_threads_that_read_are_told_which_server_is_asked(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000")
    driver = _PatientDriver(None, None, False)
    with gdal_env({"AWS_REQUEST_PAYER": "requester"}):
        captured = driver.capture_env()
    assert captured["AWS_S3_ENDPOINT"] == "127.0.0.1:9000"
    assert captured["AWS_REQUEST_PAYER"] == "requester"
    with rio_env(**captured):  # as odc-stac does in each of its threads
        assert server_options()["AWS_S3_ENDPOINT"] == "127.0.0.1:9000"


def test_keys_are_taken_from_the_file_that_gdal_reads_and_never_shown(monkeypatch, tmp_path):
    (tmp_path / "credentials").write_text(
        f"[default]\naws_access_key_id = one\naws_secret_access_key = {SECRET}\n"
        f"[other]\naws_access_key_id = two\naws_secret_access_key = 50%{SECRET}\naws_session_token = t\n"
    )
    assert connection_of("s3://bucket").config == {"access_key_id": "one", "secret_access_key": SECRET}
    monkeypatch.setenv("AWS_PROFILE", "other")
    how = connection_of("s3://bucket")
    assert how.config["secret_access_key"] == f"50%{SECRET}"
    assert SECRET not in repr(how)
    monkeypatch.setenv("AWS_PROFILE", "none")
    assert connection_of("s3://bucket").config == {}
    monkeypatch.delenv("AWS_PROFILE")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mine")
    assert connection_of("s3://bucket").config == {}, "obstore reads those itself"
