"""From settings to locations, keys and files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from dataferry.app.settings import Settings
from dataferry.app.wiring import (
    Locations,
    api_keys,
    control_planes,
    database_file,
    database_password,
    datasets,
    key_file,
    landing_zones,
)
from dataferry.domain.errors import ConfigError
from dataferry.domain.location import Landing
from dataferry.mechanisms.registry import Registry


def settings_of(**sections: Any) -> Settings:
    """Settings of some sections."""
    return Settings.model_validate(sections)


def located(**settings: Any) -> Any:
    """The settings of one S3 location, as its mechanism gets them."""
    found = Locations(settings_of(locations={"a": {"type": "s3", **settings}}), Registry())
    return found.get("a").settings


def test_references_are_resolved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """``env:`` and ``file:`` lead to the secret, in locations, control planes and API keys."""
    monkeypatch.setenv("A_SECRET", "from-environment")
    (tmp_path / "secret").write_text("from-file\n")
    reference = f"file:{tmp_path / 'secret'}"
    assert located(access_key_id="env:A_SECRET", secret_access_key=reference) == {
        "access_key_id": "from-environment",
        "secret_access_key": "from-file",
    }
    settings = settings_of(
        control_planes=[{"id": "a", "token": "env:A_SECRET"}],
        auth={"api_keys": [{"name": "ops", "key": reference}]},
    )
    assert control_planes(settings)[0].token == "from-environment"
    assert api_keys(settings) == (("ops", "from-file"),)


def test_a_reference_that_leads_nowhere_names_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says which key of which location to look at."""
    monkeypatch.delenv("NOT_SET", raising=False)
    with pytest.raises(ConfigError, match=r"locations\.a\.secret_access_key: env:NOT_SET"):
        located(secret_access_key="env:NOT_SET")


def test_one_location_needs_no_other_ones_secret() -> None:
    """What is not used is not resolved."""
    locations = {"a": {"type": "file", "root": "/"}, "b": {"type": "s3", "access_key_id": "env:NOT_SET"}}
    assert Locations(settings_of(locations=locations), Registry()).get("a").name == "a"


def test_an_unknown_key_of_a_location_is_refused_with_the_nearest() -> None:
    """Typing mistakes in a mechanism's settings are told like those of our own."""
    with pytest.raises(ConfigError, match=r"unknown key locations\.a\.endpoint; did you mean 'endpoint_url'"):
        located(endpoint="http://x")
    with pytest.raises(ConfigError, match=r"locations\.a\.type: there is no mechanism 'nfs'"):
        Locations(settings_of(locations={"a": {"type": "nfs"}}), Registry()).get("a")


def test_text_of_the_environment_becomes_the_type_that_is_wanted() -> None:
    """``true`` from a variable is the boolean that the mechanism's schema asks for."""
    assert located(exclusive="true", region="true") == {"exclusive": True, "region": "true"}


def test_the_key_lies_beside_the_database() -> None:
    """Unless it is named, and it must be where the database is no file."""
    beside = settings_of(store={"url": "sqlite:////var/lib/ferry/x.db"})
    assert key_file(beside) == Path("/var/lib/ferry/dataferry.key")
    assert database_file(beside) == Path("/var/lib/ferry/x.db")
    named = settings_of(secrets={"key_file": "/etc/key"})
    assert key_file(named) == Path("/etc/key")
    elsewhere = settings_of(store={"url": "postgresql+psycopg://host/db"})
    assert database_file(elsewhere) is None
    with pytest.raises(ConfigError, match=r"secrets\.key_file is required"):
        key_file(elsewhere)


@pytest.mark.parametrize(
    ("url", "password"),
    [
        ("postgresql://ferry:s3cret%2Fword@db.example:5432/ferry", "s3cret/word"),
        ("postgresql://ferry@db.example/ferry", None),
        ("postgresql://[nonsense/ferry", None),
        ("sqlite:///x.db", None),
    ],
)
def test_the_databases_password_is_known_to_the_logs(url: str, password: str | None) -> None:
    """So that they leave it out, whoever should ever say it."""
    assert database_password(settings_of(store={"url": url})) == password


def test_two_control_planes_may_not_have_the_same_token() -> None:
    """They could not be told apart, and each would see the other's flows."""
    planes = [{"id": name, "token": "the same token for both"} for name in ("a", "b")]
    with pytest.raises(ConfigError, match="same token"):
        control_planes(Settings.model_validate({"control_planes": planes}))


def test_datasets_and_zones_say_for_whom_they_are() -> None:
    """``control_planes`` reaches the catalogue; without it they are for all."""
    settings = settings_of(
        datasets=[{"id": "d", "source": "a:x", "control_planes": ["one"]}, {"id": "e", "source": "a:x"}],
        landing_zones=[{"name": "z", "sink": "a:y", "control_planes": ["t*"]}],
    )
    assert [entry.control_planes for entry in datasets(settings)] == [("one",), ()]
    assert [entry.control_planes for entry in landing_zones(settings)] == [("t*",)]


def test_a_zone_says_what_becomes_of_data() -> None:
    """Copied to its place, or kept for applications; both at once, or neither, is refused."""
    zones = [{"name": "copy", "sink": "a:y"}, {"name": "keep", "mode": "none", "require_token_renewal": True}]
    copying, keeping = landing_zones(settings_of(landing_zones=zones))
    assert (copying.mode, copying.sink) == (Landing.COPY, "a:y")
    assert (keeping.mode, keeping.sink, keeping.require_token_renewal) == (Landing.NONE, None, True)

    for wrong in ({}, {"mode": "none", "sink": "a:y"}, {"mode": "none", "manifest": True}, {"mode": "x"}):
        with pytest.raises(ValidationError):
            settings_of(landing_zones=[{"name": "z", **wrong}])
