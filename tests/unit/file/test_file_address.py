"""Files are named by the operator, in three ways, and by nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataferry.domain.address import DataAddress
from dataferry.domain.errors import AddressError, ConfigError, UnsupportedError
from dataferry.domain.location import Location, Provenance
from dataferry.domain.profile import Direction, Profile
from dataferry.mechanisms.base import GrantMode
from dataferry.mechanisms.file import MECHANISM
from dataferry.net.connections import Network


def location(**settings: object) -> Location:
    return Location(name="plant", mechanism="file", settings=settings)


@pytest.mark.parametrize(
    "settings", [{}, {"root": "rel"}, {"root": 5}, {"root": "/x", "rot": "/y"}, {"root": "/\0"}]
)
def test_wrong_settings_are_named(settings: dict[str, object]) -> None:
    """A missing, relative or misspelt setting is refused, and the location is named."""
    with pytest.raises(ConfigError, match="plant"):
        MECHANISM.at_location(location(**settings), "x")


@pytest.mark.parametrize("path", ["..", "../x", "a/../b", "/x", "a//b", "./a", "/", "a//", "nul\0"])
def test_a_path_that_leaves_its_location_is_refused(tmp_path: Path, path: str) -> None:
    """A path in a location is plain steps downwards; datasets put ids of messages into it."""
    with pytest.raises(AddressError):
        MECHANISM.at_location(location(root=str(tmp_path)), path)


@pytest.mark.parametrize(
    ("path", "is_single"), [("", False), ("dir", False), ("dir/", False), ("new/", False), ("new", True)]
)
def test_a_slash_or_a_directory_makes_a_directory(tmp_path: Path, path: str, *, is_single: bool) -> None:
    """A place is a directory if it was written as one or is one."""
    (tmp_path / "dir").mkdir()
    assert MECHANISM.at_location(location(root=str(tmp_path)), path).is_single is is_single


@pytest.mark.parametrize(
    ("url", "identity"),
    [
        ("file:///no/such%20file", "file:///no/such%20file"),
        ("FILE://localhost/no/x%3Fy", "file:///no/x%3Fy"),
        ("/no/such?file#x", "file:///no/such%3Ffile%23x"),
        ("/no/such/../x/", "file:///no/x"),
    ],
)
def test_urls_and_paths_name_files(url: str, identity: str) -> None:
    """The same file has the same identity however it was written."""
    place = MECHANISM.at_url(url)
    assert (place.identity, place.provenance) == (identity, Provenance.OPERATOR)


@pytest.mark.parametrize("url", ["", "file://host/x", "file:///x?y", "file:///x#y", "file:///%ff", "/\0"])
def test_what_is_no_file_url_is_refused(url: str) -> None:
    """A URL of another host, or with parts that a path has not, is refused."""
    with pytest.raises(AddressError):
        MECHANISM.at_url(url)


def test_a_relative_path_is_below_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plain path means what it means in a shell."""
    monkeypatch.chdir(tmp_path)
    assert MECHANISM.at_url("x").identity == MECHANISM.at_url(str(tmp_path / "x")).identity


@pytest.mark.parametrize(
    "named",
    [
        {"endpointType": "file", "endpoint": "/etc/passwd"},
        {"type": "File"},
        {"endpointType": "AmazonS3", "endpoint": "file:///etc/passwd"},
        "file:///etc/passwd",
    ],
)
@pytest.mark.parametrize("end", ["source", "destination"])
def test_metadata_never_names_a_file(named: object, end: str) -> None:
    """Metadata that names a file for this end is refused; another end's is not looked at."""
    other = {"source": "destination", "destination": "source"}[end]
    here = location(root="/")
    with pytest.raises(AddressError):
        MECHANISM.at_metadata({f"{end}DataAddress": named}, end=end, location=here)
    assert MECHANISM.at_metadata({f"{other}DataAddress": named}, end=end, location=here) is None


def test_a_data_address_never_names_a_file() -> None:
    """No DataAddress from a message is a file, whatever its type says."""
    with pytest.raises(AddressError, match="never named"):
        MECHANISM.at_address(DataAddress(endpoint_type="file", endpoint="file:///etc/passwd"))


def test_a_grant_is_refused_with_advice(tmp_path: Path) -> None:
    """A file location can't be shared, and the error says what can."""
    profile = Profile(url="https://w3id.org/dspace-sig/profile/http-pull", direction=Direction.PULL)
    with pytest.raises(UnsupportedError, match="S3 location"):
        MECHANISM.grant(
            MECHANISM.at_url(str(tmp_path)), profile, GrantMode.READ, Network(), ttl_s=60, purpose="a flow"
        )
