"""Names of images: as Docker reads them, and never more than a name."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from modelyard.core.errors import InvalidRequest
from modelyard.core.imagename import ImageName, is_digest, is_host, parse_image, shown

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("python", ImageName("docker.io", "library/python")),
        ("python:3.11-slim", ImageName("docker.io", "library/python", "3.11-slim")),
        ("ml/churn", ImageName("docker.io", "ml/churn")),
        ("docker.io/python", ImageName("docker.io", "library/python")),
        ("index.docker.io/ml/churn", ImageName("docker.io", "ml/churn")),
        ("registry.example/churn", ImageName("registry.example", "churn")),
        ("localhost/churn:1", ImageName("localhost", "churn", "1")),
        ("localhost:5000/a/b/c:1", ImageName("localhost:5000", "a/b/c", "1")),
        ("[::1]:5000/churn", ImageName("[::1]:5000", "churn")),
        ("Registry.Example:443/a__b.c-d---e", ImageName("Registry.Example:443", "a__b.c-d---e")),
        (f"r.example/churn@{DIGEST}", ImageName("r.example", "churn", "", DIGEST)),
        (f"r.example:1/churn:7@{DIGEST}", ImageName("r.example:1", "churn", "7", DIGEST)),
    ],
)
def test_names_are_read_as_docker_reads_them(text: str, name: ImageName) -> None:
    assert parse_image(text) == name


def test_an_address_begins_with_a_host_whatever_that_looks_like() -> None:
    assert parse_image("registry/ml/churn", host_first=True) == ImageName("registry", "ml/churn")
    with pytest.raises(InvalidRequest, match="no name of an image"):
        parse_image("churn:7", host_first=True)


def test_what_a_name_says() -> None:
    name = parse_image(f"r.example/ml/churn:7@{DIGEST}")
    assert (name.reference, name.place, name.endpoint) == (DIGEST, "r.example/ml/churn", "r.example")
    assert str(name) == f"r.example/ml/churn:7@{DIGEST}"
    assert str(name.at(DIGEST)) == f"r.example/ml/churn@{DIGEST}"
    assert parse_image("r.example/x").reference == "latest"
    assert parse_image("python").endpoint == "registry-1.docker.io"


@pytest.mark.parametrize(
    "text",
    [
        "", "/", "a/", "/a", "a//b", "A/b", "Churn", "churn:", "churn:.x", "churn:a/b", f"churn:{'x' * 129}", "churn@",
        "churn@sha256:", f"churn@{DIGEST}0", f"churn@{DIGEST.upper()}", "churn@md5:00", "r.example/../x", "r.a/.x",
        "r.example/a/../../b", "r.example:0/x", "r.example:70000/x", "r.example:5000:1/x", "user@r.example/x",
        "user:word@r.example/x", "r.example/x?y", "r.example/x#y", "r.example/x%2f", "r.example/x y", "r.example/x\n",
        "r.example/x:1\n", "r.example\n/x", "-r.example/x", "r..example/x", "[::1/x", "http://r.example/x", "a" * 256,
        "r.example/a-", "r.example/_a", "r.example/a..b", "r.example/a___b", "ünïcode/x", "r.example/x:٣",
    ],
)  # fmt: skip
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="no name of an image"):
        parse_image(text)


PART = st.from_regex(r"[a-z0-9]{1,8}([._-][a-z0-9]{1,8}){0,2}", fullmatch=True)
HOST = st.sampled_from(["r.example", "localhost:5000", "10.0.0.1:80", "[::1]:5000", "docker.io"])


@given(
    HOST, st.lists(PART, min_size=2, max_size=4), st.sampled_from(["", "7", "v1.2_x-y"]), st.sampled_from(["", DIGEST])
)
def test_a_name_written_is_the_name_read(host: str, parts: list[str], tag: str, digest: str) -> None:
    name = ImageName(host, "/".join(parts), tag, digest)
    assert parse_image(str(name)) == name


@given(st.text(st.sampled_from("aB0/:@.-_[]?#%&= \n\\~é") | st.characters(), max_size=60))
@example("a.b/c:d@sha256:")
def test_whatever_is_a_name_changes_no_url(text: str) -> None:
    try:
        name = parse_image(text)
    except InvalidRequest:
        return
    url = f"https://{name.endpoint}/v2/{name.repository}/manifests/{name.reference}"
    parts = urlsplit(url)
    assert parts.netloc == name.endpoint
    assert parts.path == f"/v2/{name.repository}/manifests/{name.reference}"
    assert (parts.query, parts.fragment, parts.username) == ("", "", None)
    assert re.fullmatch(r"[!-~]+", url)
    assert ".." not in parts.path.split("/")
    assert parse_image(str(name)) == name


def test_hosts_and_digests() -> None:
    assert is_host("r.example")
    assert is_host("[::1]:5000")
    assert not is_host("user@r.example")
    assert not is_host("a" * 300)
    assert is_digest(DIGEST)
    assert not is_digest(DIGEST + "\n")


@pytest.mark.parametrize(
    ("text", "shorter"),
    [
        ("oci://me:hunter2@registry.example/ml/churn", "oci://…@registry.example/ml/churn"),
        ("me:hun@ter/2@registry.example/ml/churn:7", "…@registry.example/ml/churn:7"),
        (f"registry.example/churn@{DIGEST}", f"registry.example/churn@{DIGEST}"),
        (f"s3://me:hunter2@bucket/churn@{DIGEST}", f"s3://…@bucket/churn@{DIGEST}"),
        ("churn@sha256:short", "churn@sha256:short"),
    ],
)
def test_a_password_that_somebody_typed_is_not_repeated(text: str, shorter: str) -> None:
    assert shown(text) == shorter
    with pytest.raises(InvalidRequest) as caught:
        parse_image(text.partition("://")[2] or f"{text}!")
    assert "hunter2" not in f"{caught.value} {caught.value.cause}"
