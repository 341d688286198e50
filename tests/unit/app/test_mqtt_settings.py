"""``[mqtt]``: what it takes, and what it becomes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from dataferry.app.mqtt import announcers, broker_of, topics_of
from dataferry.app.settings import Settings
from dataferry.domain.clock import SystemClock
from dataferry.domain.errors import ConfigError
from dataferry.net.connections import Network
from dataferry.secrets.sealing import Sealer
from dataferry.store.store import Store


def settings(mqtt: dict[str, Any], **more: Any) -> Settings:
    """The settings with this section."""
    return Settings.model_validate({"mqtt": mqtt, **more})


@pytest.mark.parametrize(
    ("mqtt", "says"),
    [
        ({"url": "http://broker"}, "must be mqtts://"),
        ({"url": "mqtt://"}, "must be mqtts://"),
        ({"url": "mqtt://broker:99999"}, "must be mqtts://"),
        ({"url": "mqtt://broker/path"}, "must be mqtts://"),
        ({"url": "mqtt://user:secret-word@broker"}, "set `username` and `password`"),
        ({"username": "u"}, "`url` is required"),
        ({"url": "mqtt://broker", "password": "p"}, "`password` needs `username`"),
        ({"url": "mqtts://broker", "client_key": "k"}, "`client_key` needs"),
        ({"url": "mqtt://broker", "ca_file": "f"}, "begins with mqtts"),
        ({"url": "mqtt://broker", "topic_prefix": "a//b"}, "empty level"),
        ({"url": "mqtt://broker", "topic_prefix": "a/#"}, "pattern"),
        ({"url": "mqtt://broker", "qos": 2}, "Input should be 0 or 1"),
    ],
)
def test_what_is_refused(mqtt: dict[str, Any], says: str) -> None:
    """A sentence says what is wrong, and repeats no value."""
    with pytest.raises(ValidationError, match=says) as refused:
        settings(mqtt)
    assert "secret-word" not in str(refused.value)


def test_what_a_broker_is_made_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ports by scheme, an id by the plane's, the password from where it is; nothing shows it."""
    monkeypatch.setenv("BROKER_PASSWORD", "the-password-itself")
    mqtt = {"url": "mqtts://broker.example", "username": "u", "password": "env:BROKER_PASSWORD"}
    broker = broker_of(settings(mqtt, server={"dataplane_id": "north"}))
    assert (broker.host, broker.port, broker.is_tls, broker.is_v5) == ("broker.example", 8883, True, True)
    assert (broker.client_id, broker.password) == ("dataferry-north", "the-password-itself")
    assert "the-password-itself" not in repr(broker)
    plain = broker_of(settings({"url": "mqtt://[::1]", "version": "3.1.1", "client_id": "mine"}))
    assert (plain.host, plain.port, plain.is_tls, plain.is_v5, plain.client_id) == (
        "::1",
        1883,
        False,
        False,
        "mine",
    )
    with pytest.raises(ConfigError, match=r"mqtt\.password"):
        broker_of(settings({**mqtt, "password": "env:NOT_THERE"}))


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, "default"),
        ({"orchestrator": {"participant_context_id": "x"}}, "x"),
        ({"participants": [{"id": "anna"}]}, "anna"),
        ({"control_planes": [{"id": "c", "participant_context_id": "bert"}]}, "bert"),
        ({"participants": [{"id": "anna"}, {"id": "bert"}]}, None),
        (
            {
                "participants": [{"id": "anna"}],
                "control_planes": [{"id": "c", "participant_context_id": "bert"}],
            },
            None,
        ),
    ],
)
def test_one_participant_needs_no_branch(more: dict[str, Any], expected: str | None) -> None:
    """As soon as there are several, each has one."""
    assert topics_of(settings({"url": "mqtt://broker"}, **more)).only_participant == expected


def test_a_missing_extra_is_told_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The install is small; who configures a broker is told what to add."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "paho"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(ConfigError, match=r"pip install 'dataferry\[mqtt\]'"):
        broker_of(settings({"url": "mqtt://broker"}))


def test_files_that_can_not_be_read_are_told_at_once(tmp_path: Path) -> None:
    """Not when the broker is first dialled."""
    store = Store.open(f"sqlite:///{tmp_path}/a.db", sealer=Sealer(bytes(32)), clock=SystemClock())
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("no certificate")
    try:
        for mqtt, says in (
            ({"ca_file": str(garbage)}, "holds no PEM certificate"),
            ({"client_certificate": str(tmp_path / "none.pem")}, "No such file"),
            ({"client_certificate": str(garbage)}, "not in PEM"),
        ):
            with pytest.raises(ConfigError, match=says):
                announcers(settings({"url": "mqtts://broker", **mqtt}), store, Network(), SystemClock(), str)
        assert announcers(Settings(), store, Network(), SystemClock(), str) == ()
    finally:
        store.close()
