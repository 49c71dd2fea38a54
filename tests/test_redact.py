"""No credential survives."""

from __future__ import annotations

import logging
import pickle
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.errors import InputError
from geoseg.redact import clean_url, hide_credentials, identify_url, redact

# What a URL may hold as it is, and what must be escaped in it.
SECRETS = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp")), min_size=8, max_size=40
)
KEYS = st.sampled_from(
    [
        "X-Amz-Signature",
        "X-Amz-Credential",
        "sig",
        "Signature",
        "token",
        "access_token",
        "api_key",
        "k",
        "Policy",
        "id2",
        "url",
    ]
)
FRAMES = st.sampled_from(
    [
        "{}",
        "'{}' not recognized",
        "read of {} failed: HTTP 403",
        "({})",
        "/vsicurl/{}",
        "a {}, b",
        '"{}"',
        "x={};",
        "<a>{}</a>",
    ]
)


def quote_some(secret: str, safe: str) -> str:
    return quote(secret, safe=safe)


@settings(max_examples=150, deadline=None)
@given(SECRETS, KEYS, FRAMES, st.sampled_from(["", "/:+!*,;=$"]), st.booleans())
def test_secrets_of_queries_do_not_survive(secret: str, key: str, frame: str, safe: str, nested: bool) -> None:
    value = "Qq7" + quote(secret, safe=safe) + "Zz9"
    url = f"https://host.org/a/b.tif?v=1&{key}={value}&page=2"
    hidden = quote(url, safe="") if nested else url
    shown = redact(frame.format(f"https://x.org/t?url={hidden}" if nested else url))
    assert "Qq7" not in shown
    assert "Zz9" not in shown
    assert "Qq7" not in clean_url(url)
    assert redact(shown) == shown


@settings(max_examples=150, deadline=None)
@given(SECRETS, SECRETS, FRAMES, st.sampled_from(["", "!$'()*+,;=~", "/!$*"]), st.booleans())
def test_users_and_passwords_do_not_survive(user: str, password: str, frame: str, safe: str, nested: bool) -> None:
    name = f"Uu7{quote(user, safe='')}:Qq7{quote(password, safe=safe)}Zz9"
    url = f"https://{name}@host.org:8080/a/b.tif"
    shown = redact(frame.format(f"/vsicurl?url={quote(url, safe='')}" if nested else url))
    for part in ("Uu7", "Qq7", "Zz9"):
        assert part not in shown
        assert part not in identify_url(url)
    if not nested:
        assert "host.org:8080/a/b.tif" in shown
        assert identify_url(url) == clean_url(url) == "https://host.org:8080/a/b.tif"


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://me:Secret9@db.org/gis",
        "postgresql://db.org/gis?user=me&password=Secret9",
        "host=db.org password='Secret9 x' user=me",
        "AWS_SECRET_ACCESS_KEY=Secret9",
        "{'Authorization': 'Bearer Secret9'}",
        "Authorization: Basic Secret9==",
        "<Error><AWSAccessKeyId>Secret9</AWSAccessKeyId><StringToSign>Secret9</StringToSign></Error>",
        "<GDAL_WMS><UserPwd>me:Secret9</UserPwd></GDAL_WMS>",
        "https://host.org/a.tif?Secret9",
        "https://host.org/a.tif#access_token=Secret9",
        "/vsicurl?use_head=no&url=https%3A%2F%2Fme%3ASecret9%40host.org%2Fa.tif&header.X=Secret9",
        "/vsis3/bucket/https%253A%252F%252Fme%253ASecret9%2540host/a?x%253Dy%2526sig%253DSecret9",
        '{"password": "Secret9"}',
        "https://me:Sec/ret9@host.org/a.tif".replace("Sec/ret9", "Secret9/Secret9"),
    ],
)
def test_secrets_of_many_kinds(text: str) -> None:
    assert "Secret9" not in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "/data/scene (2).tif: no such file; y=3?",
        "https://host.org:8080/@me/a.tif",
        "https://host.org/a.tif?collection=ortho&bbox=1,2,3,4&version=1.0.0",
        "NETCDF:file.nc:red",
        "mail me@host.org, see https://host.org/a",
        "s3://bucket/key/a.tif",
        "is it there?",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


def test_the_same_resource_signed_twice_is_the_same() -> None:
    urls = [f"https://h.org/a.tif?version=3&sv=1&se={i}&sig=x{i}" for i in range(2)]
    assert identify_url(urls[0]) == identify_url(urls[1]) == "https://h.org/a.tif?version=3"
    assert identify_url("https://h.org/a?id=1") != identify_url("https://h.org/a?id=2")
    assert identify_url("/data/a?b=1&sig=2.tif") == "/data/a?b=1&sig=2.tif"


def test_no_message_of_geoseg_has_one() -> None:
    url = "https://me:Secret9@h.org/a?sig=Secret9"
    error = InputError(f"{url}: no", expected=url, remedy=f"gdalinfo {url}")
    for one in (error, pickle.loads(pickle.dumps(error))):
        assert "Secret9" not in str(one) + repr(one) + one.found + one.expected + one.remedy


def test_no_record_of_a_log_has_one(caplog: pytest.LogCaptureFixture) -> None:
    hide_credentials("tests.redact")
    hide_credentials("tests.redact")
    logging.getLogger("tests.redact").error("%s in %r", "bad", "https://h/a?sig=Secret9")
    (record,) = caplog.records
    assert "Secret9" not in record.getMessage() + caplog.text
    assert "bad in" in caplog.text


@pytest.mark.parametrize(
    "part", ["://", "://a@", "a-", "?", "?a=", "%3F", "%25", "<Token", "password", "a:b@", "%3A%2F%2F"]
)
def test_hostile_texts_are_no_burden(part: str) -> None:
    text = part * 2_000
    assert len(redact(text)) <= 4 * len(text)
