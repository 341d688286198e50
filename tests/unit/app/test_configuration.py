"""Reading ``dataferry.toml`` and the environment: what is wrong is named, with the way out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from dataferry.app.configuration import find, load, with_server
from dataferry.app.orchestration import client_key, policy_of
from dataferry.app.settings import Settings
from dataferry.domain.errors import ConfigError
from dataferry.domain.purview import Scope
from dataferry.secrets.redaction import SecretValues

SECRET = "hunter2-hunter2-hunter2"


def read(directory: Path, text: str, environ: Mapping[str, str] | None = None) -> Settings:
    """Write ``text`` as a configuration file and load it."""
    path = directory / "dataferry.toml"
    path.write_text(text)
    return load(str(path), environ or {})


ACCEPTED = "[[orchestrator.accepted_policies]]\nname = 'p'\nproviders = ['*']\n"


def refusal(directory: Path, text: str, environ: Mapping[str, str] | None = None) -> str:
    """Return what is said about a wrong configuration."""
    with pytest.raises(ConfigError) as caught:
        read(directory, text, environ)
    return str(caught.value)


def test_without_a_file_the_defaults_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file, no environment: loopback, port 8080, a SQLite file here."""
    monkeypatch.chdir(tmp_path)
    settings = load(None, {})
    assert (settings.server.host, settings.server.port) == ("127.0.0.1", 8080)
    assert settings.store.url == "sqlite:///dataferry.db"


def test_the_file_is_looked_for_in_a_fixed_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The option wins over the variable, the variable over the working directory."""
    monkeypatch.chdir(tmp_path)
    assert find(None, {}) is None
    (tmp_path / "dataferry.toml").write_text("")
    assert find(None, {}) == Path("dataferry.toml")
    assert find(None, {"DATAFERRY_CONFIG": "/x/y.toml"}) == Path("/x/y.toml")
    assert find("/z.toml", {"DATAFERRY_CONFIG": "/x/y.toml"}) == Path("/z.toml")


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    """A missing file that was asked for is an error, not the defaults."""
    with pytest.raises(ConfigError, match=r"there is no configuration file .*nowhere\.toml"):
        load(str(tmp_path / "nowhere.toml"), {})


P = "[[participants]]\nid = 'p'\n"
X = "[locations.x]\ntype = 'file'\n"
A_KEY = "[[auth.api_keys]]\nname = 'a'\nkey = 'env:KEY'\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[server]\nprot = 1", "unknown key server.prot; did you mean 'port'?"),
        ("[srver]\nport = 1", "unknown section srver; did you mean 'server'?"),
        ("[kafka]\nurl = 'x'", "unknown section kafka; there are: auth, control_planes"),
        (
            "[orchestrator]\nconectors = []",
            "unknown key orchestrator.conectors; did you mean 'connectors'?",
        ),
        ("[[orchestrator.connectors]]\napi_key = 'x'", "orchestrator.connectors[0].address is required"),
        (
            "[[orchestrator.connectors]]\naddress = 'http://x'\ntoken_url = 'http://t'",
            "`token_url`, `client_id` and `client_secret` need each other",
        ),
        (ACCEPTED, "write `empty = true` if offers without any condition are accepted"),
        (f"{ACCEPTED}empty = true\npermission = [{{action = 'use'}}]", "has rules, so it is not `empty`"),
        (ACCEPTED.replace("'*'", "") + "empty = true", "orchestrator.accepted_policies[0].providers"),
        (f"{ACCEPTED}permission = [{{action = 'use', more = 1}}]", "'more' of a rule is not understood"),
        (f"{ACCEPTED}prohibitions = []\nempty = true", "did you mean 'prohibition'?"),
        (
            f"{ACCEPTED}permission = [{{action = 'use', constraint = {{rightOperand = 2027-01-01}}}}]",
            "neither text, number, true, false nor an IRI",
        ),
        ("[orchestrator]\ndestination = 'lake:in/'", "there is no location 'lake'"),
        ("[orchestrator]\ndestination = 'lake:in'\n[locations.lake]\ntype = 'file'", "must end with `/`"),
        (
            (
                "[orchestrator]\nparticipant_context_id = 'b'\n[[participants]]\nid = 'a'\n"
                "[[orchestrator.connectors]]\naddress = 'http://x'\n"
                "[[control_planes]]\nid = 'c'\nparticipant_context_id = 'a'"
            ),
            "orchestrator.participant_context_id is none of [[participants]]",
        ),
        ("[server]\nport = 'many'", "server.port: "),
        ("[server]\nport = 70000", "server.port: "),
        ("[server\nport = 1", "is not valid TOML"),
        (
            "[[control_planes]]\nid = 'a'\ntokn = 'x'",
            "unknown key control_planes[0].tokn; did you mean 'token'?",
        ),
        ("[[control_planes]]\nendpoint = 'http://x'", "control_planes[0].id is required"),
        ("[[control_planes]]\nid = 'a'\nregister = true", "`register = true` needs `endpoint`"),
        ("[[control_planes]]\nid = 'a'\nendpoint = 'ftp://x'", "must be an absolute URL"),
        ("[[control_planes]]\nid = 'a'\n[[control_planes]]\nid = 'a'\ntoken = 'x'", "'a' is there twice"),
        ("[[control_planes]]\nid = 'a'\n[[control_planes]]\nid = 'b'\ntoken = 'x'", "'a' has no token"),
        ("[[datasets]]\nid = 'a'\nmatch = 'b'\nsource = 'x:'", "give either `id` or `match`"),
        ("[[datasets]]\nid = 'a'\nsource = 'x'", "'x' is not a location and a path"),
        ("[[datasets]]\nid = 'a'\nsource = 'x:y'", "there is no location 'x'; add [locations.x]"),
        (
            "[[landing_zones]]\nname = 'a'\nsink = 'lak:y'\n[locations.lake]\ntype = 'file'",
            "landing_zones[0].sink: there is no location 'lak'; did you mean 'lake'?",
        ),
        ("[[landing_zones]]\nname = 'a'", "`sink` is needed"),
        ("[[landing_zones]]\nname = 'a'\nmode = 'none'\nsource = 'x:y'", "leave out `source`"),
        ("[locations.a]\nroot = '/'", "locations.a.type is required"),
        ("[auth]\napi_keys = [{ name = 'a' }]", "give either `key` or `sha256`"),
        ("[auth]\napi_keys = [{ name = 'a', key = 'short' }]", "auth.api_keys[0].key: "),
        (f"{A_KEY}scopes = ['root']", "auth.api_keys[0].scopes[0]"),
        (f"{A_KEY}scopes = ['configure']\nparticipants = ['p']", "can't have the scope `configure`"),
        (f"{A_KEY}participants = ['q']\n{P}", "auth.api_keys 'a'.participants: 'q' is none of"),
        (
            f"{P}[locations.x]\ntype = 'file'\nparticipants = ['q']",
            "locations.x.participants: 'q' is none of",
        ),
        (
            f"{P}{X}[[datasets]]\nid = 'a'\nsource = 'x:y'\nparticipants = ['q']",
            "datasets[0].participants: 'q'",
        ),
        (
            f"{P}{X}[[landing_zones]]\nname = 'a'\nsink = 'x:y'\nparticipants = ['q']",
            "landing_zones[0].participants: 'q'",
        ),
        (
            (
                f"{P}[[participants]]\nid = 'q'\n{X}participants = ['q']\n[[control_planes]]\nid = 'a'\n"
                "participant_context_id = 'p'\nmay_name_locations = true\nmetadata_location = 'x'"
            ),
            "metadata_location is a location of other participants",
        ),
    ],
)
def test_what_is_wrong_is_named_with_the_way_out(tmp_path: Path, text: str, said: str) -> None:
    """Each mistake names the file, the key, and what would be right."""
    message = refusal(tmp_path, text)
    assert said in message
    assert str(tmp_path / "dataferry.toml") in message


@pytest.mark.parametrize(
    ("text", "lacking"),
    [
        ("", set()),
        ("participants = ['p']", {Scope.CONFIGURE, Scope.ORCHESTRATE}),
        ("control_planes = ['a']", {Scope.CONFIGURE, Scope.ORCHESTRATE}),
        ("scopes = ['read', 'operate']", {Scope.CONFIGURE, Scope.DATA_ADDRESS, Scope.ORCHESTRATE}),
        ("scopes = []", set(Scope)),
    ],
)
def test_a_configured_key_has_all_scopes_but_for_what_is_said(
    tmp_path: Path, text: str, lacking: set[Scope]
) -> None:
    """As before there were any; what is bound can neither configure nor orchestrate."""
    (key,) = read(tmp_path, A_KEY + text).auth.api_keys
    assert set(Scope) - key.granted == lacking


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    """Two mistakes are two lines."""
    assert len(refusal(tmp_path, "[server]\nprot = 1\n[stor]\nurl = 'x'").splitlines()) == 2


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    """Sections, names with a hyphen, list entries and JSON lists are all within reach of a variable."""
    settings = read(
        tmp_path,
        "[server]\nport = 1\n[locations.plant-a]\ntype = 's3'\nregion = 'x'\n[[control_planes]]\nid = 'a'",
        {
            "DATAFERRY_SERVER__PORT": "9000",
            "DATAFERRY_LOCATIONS__PLANT_A__REGION": "eu-central-1",
            "DATAFERRY_CONTROL_PLANES__0__TOKEN": "env:TOKEN",
            "DATAFERRY_EGRESS__ALLOW": '["10.1.0.0/16"]',
            "DATAFERRY_EGRESS__ALLOW_PRIVATE_NETWORKS": "true",
            "DATAFERRY_URL": "http://not-a-setting",
            "DATAFERRY_API_KEY": "not-a-setting",
        },
    )
    assert settings.server.port == 9000
    assert settings.locations["plant-a"].settings == {"region": "eu-central-1"}
    assert settings.control_planes[0].token == "env:TOKEN"
    assert settings.egress.allow == ("10.1.0.0/16",)
    assert settings.egress.allow_private_networks is True


def test_the_environment_alone_can_say_everything(tmp_path: Path) -> None:
    """An entry of a list is added by naming the next position, a whole list by JSON."""
    settings = read(
        tmp_path,
        "",
        {
            "DATAFERRY_LOCATIONS__LAKE__TYPE": "file",
            "DATAFERRY_LANDING_ZONES__0__NAME": "in",
            "DATAFERRY_LANDING_ZONES__0__SINK": "lake:in/",
            "DATAFERRY_DATASETS": '[{"id": "a", "source": "lake:a"}]',
        },
    )
    assert settings.landing_zones[0].sink == "lake:in/"
    assert settings.datasets[0].id == "a"


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("DATAFERRY_SERVER__PROT", "environment variable DATAFERRY_SERVER__PROT: unknown key server.prot"),
        ("DATAFERRY_SRVER__PORT", "unknown section srver; did you mean 'server'?"),
        ("DATAFERRY_SERVER__PORT", "environment variable DATAFERRY_SERVER__PORT: server.port: "),
        ("DATAFERRY_CONTROL_PLANES__5__ID", "'5' is no entry of the list, nor the next one"),
        ("DATAFERRY_SERVER____PORT", "has an empty part"),
        ("DATAFERRY_SERVER__PORT__DEEPER", "names a key inside of one that is no table"),
    ],
)
def test_a_wrong_variable_is_named(tmp_path: Path, variable: str, said: str) -> None:
    """Mistakes in the environment name the variable, not the file."""
    text = "[server]\nport = 1\n" if variable.endswith("DEEPER") else ""
    assert said in refusal(tmp_path, text, {variable: "x"})


def test_no_message_and_no_repr_shows_a_secret(tmp_path: Path) -> None:
    """What stands in a credential's place is never repeated."""
    wrong = (
        f"[[control_planes]]\nid = 'a'\ntoken = ['{SECRET}']\nregister = '{SECRET}'\nendpoint = '{SECRET}'"
    )
    assert SECRET not in refusal(tmp_path, wrong)
    right = (
        f"[[control_planes]]\nid = 'a'\ntoken = '{SECRET}'\ncallback_token = '{SECRET}'\n"
        f"endpoint = 'https://control.example'\n[auth]\napi_keys = [{{ name = 'x', key = '{SECRET}' }}]\n"
        f"[locations.a]\ntype = 's3'\nsecret_access_key = '{SECRET}'"
    )
    assert SECRET not in repr(read(tmp_path, right))


def test_a_callback_token_needs_a_configured_endpoint(tmp_path: Path) -> None:
    """Otherwise it would be sent to wherever a message says."""
    message = refusal(tmp_path, "[[control_planes]]\nid = 'a'\ntoken = 't'\ncallback_token = 'c'")
    assert "`callback_token` needs `endpoint`" in message


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "ferry.example.com"])  # noqa: S104 - refused
def test_an_open_address_needs_authorization(tmp_path: Path, host: str) -> None:
    """Beyond loopback nothing is served without keys and tokens; the message says what to add."""
    message = refusal(tmp_path, f"[server]\nhost = '{host}'")
    assert (
        "add an API key and a [[control_planes]] entry with a token (`dataferry api-keys create`" in message
    )
    assert "or listen on 127.0.0.1" in message
    with_keys = "[auth]\napi_keys = [{ name = 'a', key = 'env:SOME_KEY' }]\n"
    assert "a token for control plane 'a'" in refusal(
        tmp_path, f"[server]\nhost = '{host}'\n{with_keys}[[control_planes]]\nid = 'a'"
    )
    complete = f"[server]\nhost = '{host}'\n{with_keys}[[control_planes]]\nid = 'a'\ntoken = 'env:T'"
    assert read(tmp_path, complete).server.host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_needs_none(tmp_path: Path, host: str) -> None:
    """On this machine the service may be open."""
    assert read(tmp_path, f"[server]\nhost = '{host}'").server.is_loopback


def test_the_command_line_is_checked_too(tmp_path: Path) -> None:
    """``--host`` can't open what the file would not."""
    settings = read(tmp_path, "")
    assert with_server(settings, host=None, port=0).server.port == 0
    with pytest.raises(ConfigError, match="without authorization"):
        with_server(settings, host="0.0.0.0", port=None)  # noqa: S104 - refused


def test_the_orchestrators_variables_count_below_ours(tmp_path: Path) -> None:
    """The description's variables go over the file, ``.env`` over the environment, ours over both."""
    (tmp_path / "dataferry.toml").write_text("[orchestrator]\ndata_address_max_retries = 9\nretries = 2")
    dot_env = tmp_path / ".env"
    dot_env.write_text(
        "# comment\n\nexport REQUEST_TIMEOUT='7'\nDATA_STORAGE_PATH=\"/srv/da ta\" # here\nLOG_LEVEL=DEBUG\n"
    )
    environ = {
        "REQUEST_TIMEOUT": "11",
        "EDC_API_KEY": "from-the-environment",
        "DATA_ADDRESS_DELAY": "0.5",
        "STORAGE_API_URL": "",
        "DATAFERRY_ORCHESTRATOR__DATA_ADDRESS_DELAY_S": "3",
    }
    read = load(str(tmp_path / "dataferry.toml"), environ, dot_env=dot_env)
    found = read.orchestrator
    assert (found.request_timeout_s, found.data_storage_path) == (7.0, "/srv/da ta")
    assert (found.api_key, found.data_address_delay_s) == ("from-the-environment", 3.0)
    assert (found.data_address_max_retries, found.storage_api_url) == (9, None)
    assert read.server.log_level == "debug"


def test_nothing_is_enough_for_the_orchestrators_patience(tmp_path: Path) -> None:
    """No retries and no delay may be said: an address is asked for once, and nobody without a pause."""
    (tmp_path / "dataferry.toml").write_text("[orchestrator]")
    environ = {"DATA_ADDRESS_MAX_RETRIES": "0", "DATA_ADDRESS_DELAY": "0"}
    read = load(str(tmp_path / "dataferry.toml"), environ, dot_env=tmp_path / "no.env")
    assert (read.orchestrator.data_address_max_retries, read.orchestrator.data_address_delay_s) == (0, 0.0)
    policy = policy_of(read)
    assert (policy.data_address_retries, policy.data_address_delay_s) == (1, 0.05)
    for name in environ:
        with pytest.raises(ConfigError, match=f"environment variable {name}: orchestrator"):
            load(str(tmp_path / "dataferry.toml"), {name: "-1"}, dot_env=tmp_path / "no.env")


@pytest.mark.parametrize("key", ["schl\u00fcssel", "\u0430bc", " the-key", "the-key\t", "a\nb", "a\x7f"])
def test_the_clients_key_can_be_sent(key: str) -> None:
    """What no header holds, or holds otherwise, is refused at the start; the message does not say the key."""
    settings = Settings.model_validate({"orchestrator": {"api_key": key}})
    with pytest.raises(ConfigError, match=r"api_key \(EDC_API_KEY\): .*printable ASCII") as told:
        client_key(settings, SecretValues())
    assert key not in str(told.value)


def test_the_orchestrators_variables_do_not_disturb_others(tmp_path: Path) -> None:
    """Where there is no orchestrator, variables of these names belong to other programs."""
    (tmp_path / "dataferry.toml").write_text("[server]\nport = 1234")
    environ = {"REQUEST_TIMEOUT": "30s", "LOG_LEVEL": "trace", "EDC_API_KEY": ""}
    read = load(str(tmp_path / "dataferry.toml"), environ, dot_env=tmp_path / "no.env")
    assert read.orchestrator.request_timeout_s == 5.0
    (tmp_path / "dataferry.toml").write_text("[orchestrator]")
    with pytest.raises(ConfigError, match="environment variable REQUEST_TIMEOUT: orchestrator"):
        load(str(tmp_path / "dataferry.toml"), environ, dot_env=tmp_path / "no.env")
    read = load(str(tmp_path / "dataferry.toml"), {"LOG_LEVEL": "trace"}, dot_env=tmp_path / "no.env")
    assert read.server.log_level == "info"
