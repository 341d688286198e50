"""``dataferry copy`` and data flows from and to HTTP servers."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.integration.test_engine_pairs import until
from tests.servers.authority import Authority, TlsFront
from tests.servers.http_proxy import HttpProxy
from tests.servers.http_store import Fault, HttpStore, Kept
from tests.servers.plane import MIB, Rig, running, s3_location
from tests.servers.s3_client import digest, s3_client
from tests.servers.webdav import webdav

from dataferry.demo.control_plane import message
from dataferry.demo.planes import toml
from dataferry.demo.servers import JuiceFs
from dataferry.testing.mechanism_rig import pattern

TOKEN = "token-of-the-http-store-0123456789"
PROFILE = "https://w3id.org/dspace-sig/profile/http"
SIZE = 12 * MIB


@pytest.fixture
def store() -> Iterator[HttpStore]:
    """A server that wants a token, with one large object."""
    with HttpStore(token=TOKEN) as server:
        server.objects["/out/large file.bin"] = Kept(pattern(SIZE), {"Content-Type": "text/x-odd"})
        yield server


def http_location(url: str, **settings: str) -> dict[str, Any]:
    """Return a location's settings."""
    return {"type": "http", "base_url": url, **settings}


def run(
    directory: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> tuple[int, str, str]:
    """Run a copy in a directory: exit code, stdout, stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "dataferry.cli.main", "copy", *arguments, "--json"],
        cwd=directory,
        env={"PATH": os.environ["PATH"], "HOME": str(directory), **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    return done.returncode, done.stdout, done.stderr


def result_of(directory: Path, *arguments: str) -> dict[str, Any]:
    """Run a copy that must end well; return its result line."""
    code, out, err = run(directory, *arguments)
    assert (code, err) == (0, "")
    result: dict[str, Any] = json.loads(out.splitlines()[-1])
    return result


def configure(directory: Path, **locations: dict[str, Any]) -> None:
    """Write the configuration: parts of 5 MiB."""
    engine = {"part_size_bytes": 5 * MIB, "multipart_threshold_bytes": 5 * MIB}
    (directory / "dataferry.toml").write_text(toml({"locations": locations, "engine": engine}))


def test_an_object_is_fetched_into_a_file_in_ranges(store: HttpStore, tmp_path: Path) -> None:
    """Parts are read of one version in parallel; what is unchanged is not fetched again."""
    configure(tmp_path, shop=http_location(store.url, bearer_token=TOKEN))
    first = result_of(tmp_path, "shop:out/large file.bin", "in/")
    assert (first["state"], first["objects"], first["bytes"]) == ("completed", 1, SIZE)
    assert (tmp_path / "in" / "large file.bin").read_bytes() == pattern(SIZE)
    ranges = {request.headers.get("Range") for request in store.requests if request.method == "GET"}
    assert len(ranges) == 3
    assert None not in ranges
    seen = store.methods().count("GET")
    result_of(tmp_path, "shop:out/large file.bin", "in/")
    assert store.methods().count("GET") == seen


def test_etags_of_web_servers_are_no_md5s(store: HttpStore, tmp_path: Path) -> None:
    """Some make them of time and size, in the same form: equal ones skip nothing."""
    version = hashlib.md5(b"1000000000-16", usedforsecurity=False).hexdigest()
    with HttpStore() as there:
        for server, body in ((store, b"the first version"), (there, b"THE OTHER VERSION")):
            server.token = None
            server.objects["/x.bin"] = Kept(body)
            server.objects["/x.bin"].etag = version

        result = result_of(tmp_path, f"{store.url}/x.bin", f"{there.url}/x.bin")

        assert there.objects["/x.bin"].body == b"the first version"
        assert result["verification"] != "none"


def test_a_url_without_a_strong_etag_is_fetched_in_one_stream(store: HttpStore, tmp_path: Path) -> None:
    """Nothing is read in ranges of a version that can't be named."""
    store.token, store.etags = None, "weak"
    result_of(tmp_path, f"{store.url}/out/large%20file.bin?sig=not-to-be-kept", "x.bin")
    assert (tmp_path / "x.bin").read_bytes() == pattern(SIZE)
    assert [it.headers.get("Range") for it in store.requests if it.method == "GET"] == [None]
    assert "not-to-be-kept" not in "".join(
        path.read_bytes().decode("latin-1") for path in (tmp_path / ".local").rglob("*") if path.is_file()
    )


def test_an_object_without_a_length_begins_anew_after_a_kill(store: HttpStore, tmp_path: Path) -> None:
    """Nothing of the first try is visible, in the spool or open; then it is whole, and not read again."""
    store.objects["/out/export.csv"] = Kept(pattern(SIZE), is_chunked=True)
    spool, there = tmp_path / "spool", tmp_path / "in"
    spool.mkdir()
    there.mkdir()
    configure(tmp_path, shop=http_location(store.url, bearer_token=TOKEN))
    command = [sys.executable, "-m", "dataferry.cli.main", "copy", "shop:out/export.csv", "in/"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    environment["DATAFERRY_ENGINE__SPOOL_DIRECTORY"] = str(spool)
    with subprocess.Popen([*command, "--bandwidth", "2M"], cwd=tmp_path, env=environment) as process:
        until(lambda: any(path.stat().st_size >= 5 * MIB for path in there.iterdir()))
        process.kill()
    assert [path.name for path in there.iterdir() if not path.name.endswith(".dataferry-part")] == []
    assert list(spool.iterdir()) == []
    result = result_of(tmp_path, "shop:out/export.csv", "in/")
    assert (result["bytes"], result["bytes_resumed"], result["verification"]) == (SIZE, 0, "transport")
    assert [path.name for path in there.iterdir()] == ["export.csv"]
    assert (there / "export.csv").read_bytes() == pattern(SIZE)
    seen = len([it for it in store.requests if it.method == "GET" and "Range" not in it.headers])
    result_of(tmp_path, "shop:out/export.csv", "in/")
    assert seen == len([it for it in store.requests if it.method == "GET" and "Range" not in it.headers])


def test_faults_on_the_way_cost_the_part_only(store: HttpStore, tmp_path: Path) -> None:
    """A body that ends early and a server that is busy are tried again, and no byte is wrong."""
    store.inject("GET", Fault.TRUNCATE, times=2)
    store.inject("GET", Fault.STATUS, status=503, retry_after="0")
    configure(tmp_path, shop=http_location(store.url, bearer_token=TOKEN))
    result_of(tmp_path, "shop:out/large file.bin", "x.bin")
    assert (tmp_path / "x.bin").read_bytes() == pattern(SIZE)


def test_an_object_is_fetched_into_a_bucket(
    store: HttpStore, juicefs: JuiceFs, bucket: str, tmp_path: Path
) -> None:
    """In parts, with its content type."""
    client = s3_client(juicefs)
    client.create_bucket(Bucket=bucket)
    configure(
        tmp_path,
        shop=http_location(f"{store.url}/out", bearer_token=TOKEN),
        there=s3_location(juicefs),
    )
    result_of(tmp_path, "shop:large file.bin", f"there:{bucket}/in/")
    assert digest(client, bucket, "in/large file.bin") == hashlib.sha256(pattern(SIZE)).hexdigest()
    assert client.head_object(Bucket=bucket, Key="in/large file.bin")["ContentType"] == "text/x-odd"


def test_files_are_sent_to_a_server(store: HttpStore, tmp_path: Path) -> None:
    """Each in one PUT, their names percent-encoded; what is unchanged at both ends is not sent again."""
    names = {"a b.txt": b"1", "deep/ü?#%.bin": pattern(SIZE), "empty": b""}
    for name, data in names.items():
        path = tmp_path / "out" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    configure(tmp_path, shop=http_location(f"{store.url}/in", bearer_token=TOKEN))
    first = result_of(tmp_path, "out/", "shop:drop/")
    assert (first["objects"], first["verification"]) == (3, "transport")
    arrived = {name: kept.body[:] for name, kept in store.objects.items() if name.startswith("/in/")}
    assert arrived == {f"/in/drop/{name}": data for name, data in names.items()}
    assert store.objects["/in/drop/a b.txt"].headers["Content-Type"] == "text/plain"
    result_of(tmp_path, "out/", "shop:drop/")
    assert store.methods().count("PUT") == 3


def test_a_real_server_gives_back_what_it_took(tmp_path: Path) -> None:
    """To rclone's WebDAV server and back again."""
    (tmp_path / "x.bin").write_bytes(pattern(SIZE))
    (tmp_path / "served").mkdir()
    with webdav(tmp_path / "served", "ann", "password-0123456789") as url:
        configure(tmp_path, dav=http_location(url, username="ann", password="password-0123456789"))
        result_of(tmp_path, "x.bin", "dav:y.bin")
        result_of(tmp_path, "dav:y.bin", "z.bin")
    assert (tmp_path / "z.bin").read_bytes() == pattern(SIZE)


@pytest.mark.parametrize(
    ("path", "said"),
    [("out/none", "404"), ("out/locked", "401"), ("../x", "segment"), ("out/open", "broke off")],
)
def test_what_cannot_be_fetched_is_told_in_one_line(
    store: HttpStore, tmp_path: Path, path: str, said: str
) -> None:
    """Nothing is there, the credentials are wrong, a path leads out, or nobody marks the end."""
    store.raw["/out/open"] = b"HTTP/1.0 200 OK\r\n\r\n12345"
    token = "wrong-token-0123456789" if path == "out/locked" else TOKEN
    configure(tmp_path, shop=http_location(store.url, bearer_token=token))
    code, _, err = run(tmp_path, f"shop:{path}", "x.bin")
    assert code == 1
    assert said in err
    assert token not in err
    assert not (tmp_path / "x.bin").exists()


@pytest.fixture
def rig(store: HttpStore, tmp_path: Path) -> Iterator[Rig]:
    """A plane with a dataset and a landing zone on files, and one of each on the HTTP server."""
    files = tmp_path / "files"
    (files / "out").mkdir(parents=True)
    (files / "out" / "x.bin").write_bytes(pattern(SIZE))
    made = Rig(
        tmp_path,
        locations={
            "here": {"type": "file", "root": str(files)},
            "shop": http_location(store.url, bearer_token=TOKEN),
        },
        datasets=[
            {"id": "file", "source": "here:out/x.bin"},
            {"id": "web", "source": "shop:out/large file.bin"},
        ],
        more={
            "landing_zones": [
                {"name": "web", "sink": "shop:in/{processId}/", "datasets": ["web"]},
                {"name": "files", "sink": "here:in/{processId}/"},
            ]
        },
    )
    with running(made):
        yield made


def wire(kind: str, endpoint: str, **properties: str) -> dict[str, Any]:
    """A DataAddress as messages carry it."""
    named = [
        {"@type": "EndpointProperty", "name": name, "value": value} for name, value in properties.items()
    ]
    return {
        "@type": "DataAddress",
        "endpointType": kind,
        "endpoint": endpoint,
        "endpointProperties": named,
    }


def test_a_push_to_us_by_http_is_refused_without_tls(rig: Rig) -> None:
    """A token would travel in plain: prepare is refused at once, with the settings to see to."""
    for profile, dataset in itertools.product(
        (f"{PROFILE}-push", "http-push", "HttpData-PUSH"), ("web", "file")
    ):
        reply = rig.control_plane.prepare(rig.address, message("process-1", dataset, profile))
        assert reply.status == 422
        assert "public_url" in str(reply.body)
        assert rig.control_plane.status(rig.address, "process-1").status == 404


def test_a_pull_from_us_by_http_is_refused_without_tls(rig: Rig) -> None:
    """A token would travel in plain: the start of a pull is refused, with the settings to see to."""
    for profile, dataset in itertools.product(
        (f"{PROFILE}-pull", "http-pull", "HttpData-PULL"), ("web", "file")
    ):
        reply = rig.control_plane.start_flow(rig.address, message("process-1", dataset, profile))
        assert reply.status == 422
        assert "public_url" in str(reply.body)
        assert "allow_http_on_loopback" in str(reply.body)


def test_a_provider_pushes_by_http(rig: Rig, store: HttpStore) -> None:
    """The provider's plane sends what its dataset holds to the address of the start."""
    address = wire("HttpData", f"{store.url}/in/y.bin", authorization=TOKEN, authType="bearer")
    reply = rig.control_plane.start_flow(
        rig.address, message("process-1", "file", "http-push", dataAddress=address)
    )
    assert reply.status == 200, reply.body
    rig.wait_finished("process-1")
    rig.control_plane.wait_for("completed", "process-1")
    assert store.objects["/in/y.bin"].body[:] == pattern(SIZE)


def test_a_consumer_pulls_by_http(rig: Rig, store: HttpStore, tmp_path: Path) -> None:
    """The consumer's plane fetches from the address of ``started`` into its landing zone."""
    reply = rig.control_plane.prepare(rig.address, message("process-1", "file", "HttpData-PULL"))
    assert reply.status == 200, reply.body
    address = wire("HttpData", f"{store.url}/out/large%20file.bin", authorization=TOKEN, authType="bearer")
    rig.notify("process-1", "started", dataAddress=address)
    rig.wait_finished("process-1")
    assert (tmp_path / "files" / "in" / "process-1" / "large file.bin").read_bytes() == pattern(SIZE)


def test_the_strict_profile_is_kept_to(rig: Rig, store: HttpStore) -> None:
    """An address of the published profile that is not https is refused in the answer, before a byte moves."""
    address = wire(f"{PROFILE}-push", f"{store.url}/in/y.bin", authorization=TOKEN, authType="bearer")
    reply = rig.control_plane.start_flow(
        rig.address, message("process-1", "file", f"{PROFILE}-push", dataAddress=address)
    )
    assert reply.status == 400
    assert "https" in str(reply.body)
    assert TOKEN not in str(reply.body)
    assert store.requests == []


def test_a_copy_goes_through_the_proxy_of_the_environment(tmp_path: Path) -> None:
    """As users expect of a command; a name that only the proxy knows will do. One configured goes before."""
    with HttpStore() as store:
        store.objects["/x.bin"] = Kept(b"by proxy", {})
        with HttpProxy({"store.test": store.port}) as proxy:
            named = {"http_proxy": proxy.url}
            code, _, err = run(tmp_path, "http://store.test/x.bin", "./copied", environment=named)
            assert (code, err) == (0, "")
            assert (tmp_path / "copied").read_bytes() == b"by proxy"
            assert all("http://store.test/x.bin" in line for line in proxy.asked)
            count = len(proxy.asked)
            own = {"network": {"proxy": "http://127.0.0.1:1"}, "engine": {"attempts": 1}}
            (tmp_path / "dataferry.toml").write_text(toml(own))
            code, _, err = run(tmp_path, "http://store.test/x.bin", "./other", environment=named)
            assert code != 0
            assert "proxy 127.0.0.1:1" in err
            assert len(proxy.asked) == count


def test_a_location_has_its_own_way(tmp_path: Path) -> None:
    """Authorities and a proxy of its own; no name is looked up here."""
    authority = Authority(tmp_path)
    with HttpStore() as store:
        store.objects["/x.bin"] = Kept(b"by its own way", {})
        with (
            TlsFront(store.port, authority.certificate("store.test")) as front,
            HttpProxy({"store.test": front.port}) as proxy,
        ):
            way = {"ca_file": str(authority.ca_file), "proxy": proxy.url}
            configure(tmp_path, far=http_location("https://store.test", **way))
            result_of(tmp_path, "far:x.bin", "./copied")
            assert (tmp_path / "copied").read_bytes() == b"by its own way"
            assert set(proxy.asked) == {"CONNECT store.test:443 HTTP/1.1"}
