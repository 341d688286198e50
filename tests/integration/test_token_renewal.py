"""The refresh endpoint of a real plane: who gets a token anew, and what the old one is worth."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jwt
from tests.servers.did_documents import KEY, DidDocuments, Partner
from tests.servers.plane import Rig, running

from dataferry.demo.control_plane import message

PULL = "HttpData-PULL"
FORM = "application/x-www-form-urlencoded"
BODY = b"what the contract is about"
CLIENT = httpx.Client(trust_env=False, timeout=20)


@dataclass
class Setting:
    """The provider's plane, and who is there."""

    rig: Rig
    documents: DidDocuments
    provider: Partner
    consumer: Partner


@dataclass(frozen=True)
class Tokens:
    """A flow's data address, and the tokens that its client holds now."""

    process_id: str
    url: str
    endpoint: str
    access: str
    refresh: str
    expires_in: str

    @classmethod
    def of(cls, process_id: str, address: dict[str, Any]) -> Tokens:
        """Read an address."""
        properties = {entry["name"]: entry["value"] for entry in address["endpointProperties"]}
        return cls(
            process_id=process_id,
            url=address["endpoint"],
            endpoint=properties["refreshEndpoint"],
            access=properties["authorization"],
            refresh=properties["refreshToken"],
            expires_in=properties["expiresIn"],
        )

    def get(self) -> int:
        """Fetch the data; the status."""
        answer = CLIENT.get(self.url, headers={"Authorization": f"Bearer {self.access}"})
        assert answer.status_code != 200 or answer.content == BODY
        return answer.status_code

    def renewed(self, answer: httpx.Response) -> Tokens:
        """What the client holds after an answer."""
        assert answer.status_code == 200, answer.text
        issued = answer.json()
        assert issued["token_type"] == "Bearer"
        return replace(self, access=issued["access_token"], refresh=issued["refresh_token"])


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    """A provider with a file, and a consumer with a DID."""
    root = tmp_path_factory.mktemp("files")
    (root / "one").write_bytes(BODY)
    with DidDocuments() as documents, CLIENT:
        provider, consumer = documents.partner("provider"), documents.partner("consumer")
        rig = Rig(
            tmp_path_factory.mktemp("plane"),
            locations={"files": {"type": "file", "root": str(root)}},
            datasets=[{"id": "one", "source": "files:one"}],
            more={
                "server": {"allow_http_on_loopback": True},
                "participants": [{"id": "default", "did": provider.did}],
            },
        )
        with running(rig):
            yield Setting(rig, documents, provider, consumer)


@pytest.fixture
def pull(setting: Setting) -> Tokens:
    """A pull that was started."""
    return start(setting)


def start(setting: Setting, client: str | None = None) -> Tokens:
    """Start a pull, for the consumer if nobody else is named."""
    process_id = f"renewal-{os.urandom(6).hex()}"
    said = message(process_id, "one", PULL, counterPartyId=client or setting.consumer.did)
    reply = setting.rig.control_plane.start_flow(setting.rig.address, said)
    assert reply.status == 200, reply.body
    return Tokens.of(process_id, reply.body["dataAddress"])


def client_token(setting: Setting, held: Tokens, who: Partner | None = None, **claims: Any) -> str:
    """What a client signs for one request; None leaves a claim out."""
    who = who or setting.consumer
    now = int(time.time())
    usual: dict[str, Any] = {
        "iss": who.did,
        "sub": who.did,
        "aud": setting.provider.did,
        "token": held.access,
    }
    usual |= {"iat": now, "exp": now + 60, "jti": os.urandom(8).hex(), **claims}
    said = {name: value for name, value in usual.items() if value is not None}
    return jwt.encode({"alg": "ES256", "kid": f"{who.did}{KEY}"}, said, who.key)


def ask(held: Tokens, token: str, *, in_query: bool = False, **fields: str) -> httpx.Response:
    """Send a refresh request."""
    form = {"grant_type": "refresh_token", "refresh_token": held.refresh, **fields}
    headers = {"Authorization": f"Bearer {token}"}
    if in_query:
        return CLIENT.post(held.endpoint, params=form, headers=headers)
    return CLIENT.post(held.endpoint, data=form, headers=headers)


def refused(answer: httpx.Response) -> tuple[int, str]:
    """The status and OAuth's word of an answer."""
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.status_code, answer.json()["error"]


def test_an_address_says_how_it_is_renewed(pull: Tokens) -> None:
    """The Token Renewal profile's properties, and a refresh endpoint of the flow's own."""
    assert pull.expires_in == "300"
    assert pull.endpoint == f"{pull.url}/token"
    assert pull.get() == 200


def test_partners_without_a_did_get_a_token_for_life(setting: Setting) -> None:
    """Nobody could prove to be who it is bound to."""
    said = message(f"no-did-{os.urandom(4).hex()}", "one", PULL, counterPartyId="BPNL0001")
    reply = setting.rig.control_plane.start_flow(setting.rig.address, said)
    names = [entry["name"] for entry in reply.body["dataAddress"]["endpointProperties"]]

    assert names == ["authorization", "authType"]


@pytest.mark.parametrize("in_query", [False, True], ids=["form", "query"])
def test_the_bound_client_gets_new_tokens(setting: Setting, pull: Tokens, in_query: bool) -> None:
    """Both are new, and good; the answer is OAuth's."""
    fresh = pull.renewed(ask(pull, client_token(setting, pull), in_query=in_query))

    assert fresh.access != pull.access
    assert fresh.refresh != pull.refresh
    assert fresh.get() == 200


def test_a_lost_answer_costs_nothing(setting: Setting, pull: Tokens) -> None:
    """Until a new pair is used the one before renews; then it does no more."""
    ask(pull, client_token(setting, pull))
    fresh = pull.renewed(ask(pull, client_token(setting, pull)))
    assert pull.get() == 200
    assert fresh.get() == 200

    assert refused(ask(pull, client_token(setting, pull))) == (400, "invalid_grant")
    assert fresh.renewed(ask(fresh, client_token(setting, fresh))).get() == 200


def test_using_a_refresh_token_is_using_its_pair(setting: Setting, pull: Tokens) -> None:
    """Who renews twice without fetching has the second answer, and the first pair is over."""
    second = pull.renewed(ask(pull, client_token(setting, pull)))
    third = second.renewed(ask(second, client_token(setting, second)))

    assert refused(ask(pull, client_token(setting, pull))) == (400, "invalid_grant")
    assert third.get() == 200


def test_many_renewals_at_once_are_all_answered(setting: Setting, pull: Tokens) -> None:
    """Two of everything: each gets a pair, the last one's renews, and the rows are bounded."""
    tokens = [client_token(setting, pull) for _ in range(12)]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda token: ask(pull, token), tokens))
    assert {answer.status_code for answer in answers} == {200}
    last = pull.renewed(ask(pull, client_token(setting, pull)))

    assert last.get() == 200
    assert sum(pull.renewed(answer).get() == 200 for answer in answers) <= 3


def test_tokens_survive_kill_9(setting: Setting, pull: Tokens) -> None:
    """What was answered is in the database, and what was used before is too."""
    fresh = pull.renewed(ask(pull, client_token(setting, pull)))
    shown = client_token(setting, fresh)
    again = fresh.renewed(ask(fresh, shown))
    setting.rig.plane.kill()
    setting.rig.plane.start()

    assert refused(ask(again, shown)) == (401, "invalid_client")
    assert again.get() == 200
    assert again.renewed(ask(again, client_token(setting, again))).get() == 200


def test_a_resume_leaves_both_tokens_good(setting: Setting, pull: Tokens) -> None:
    """The address of a resume's answer may never reach the consumer: until it is used, the old one works."""
    held = pull.renewed(ask(pull, client_token(setting, pull)))
    setting.rig.notify(pull.process_id, "suspend")
    assert held.get() == 403
    assert refused(ask(held, client_token(setting, held))) == (400, "invalid_grant")
    address = setting.rig.notify(pull.process_id, "resume").body["dataAddress"]
    resumed = Tokens.of(pull.process_id, address)

    held = held.renewed(ask(held, client_token(setting, held)))
    assert held.get() == 200
    assert resumed.get() == 200
    assert refused(ask(held, client_token(setting, held))) == (400, "invalid_grant")
    assert resumed.renewed(ask(resumed, client_token(setting, resumed))).get() == 200


@pytest.mark.parametrize("verb", ["terminate", "completed"])
def test_tokens_end_with_the_flow(setting: Setting, pull: Tokens, verb: str) -> None:
    """All of them at once."""
    fresh = pull.renewed(ask(pull, client_token(setting, pull)))
    setting.rig.notify(pull.process_id, verb)

    assert [pull.get(), fresh.get()] == [410, 410]
    assert refused(ask(fresh, client_token(setting, fresh))) == (400, "invalid_grant")


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "did:web:other.example"},
        {"token": "another"},
        {"token": None},
        {"exp": 1},
        {"sub": "did:web:other.example"},
        {"iss": None},
    ],
    ids=str,
)
def test_a_client_token_that_is_wrong_is_refused(
    setting: Setting, pull: Tokens, claims: dict[str, Any]
) -> None:
    """401 ``invalid_client``, with a challenge; the tokens stay as they were."""
    answer = ask(pull, client_token(setting, pull, **claims))

    assert refused(answer) == (401, "invalid_client")
    assert "Bearer" in answer.headers["WWW-Authenticate"]
    assert pull.get() == 200


def test_another_client_is_refused(setting: Setting, pull: Tokens) -> None:
    """A stolen refresh token is of no use to who has it; nor is a DID document of the thief's."""
    thief = setting.documents.partner("thief")
    asked = len(setting.documents.asked)
    as_itself = ask(pull, client_token(setting, pull, thief))
    as_consumer = replace_key(setting.consumer, thief)

    assert refused(as_itself) == (400, "invalid_grant")
    assert len(setting.documents.asked) == asked
    assert refused(ask(pull, client_token(setting, pull, as_consumer))) == (401, "invalid_client")


def replace_key(one: Partner, other: Partner) -> Partner:
    """Who says to be one, with the key of another."""
    return Partner(one.did, other.key)


def test_a_client_token_is_good_once(setting: Setting, pull: Tokens) -> None:
    """What was overheard can't be sent again, although the refresh token would still be good."""
    token = client_token(setting, pull)

    assert ask(pull, token).status_code == 200
    assert refused(ask(pull, token)) == (401, "invalid_client")


def test_strangers_send_the_plane_nowhere(setting: Setting, pull: Tokens) -> None:
    """Without a good refresh token no DID document is fetched, whoever the client says to be."""
    stranger = setting.documents.partner("stranger")
    asked = len(setting.documents.asked)
    wrong = replace(pull, refresh="wrong" * 8)
    lost = replace(pull, endpoint=f"{pull.endpoint[:-10]}ffff/token")

    assert refused(ask(wrong, client_token(setting, wrong, stranger))) == (400, "invalid_grant")
    assert refused(ask(lost, client_token(setting, lost, stranger)))[1] == "invalid_grant"
    assert len(setting.documents.asked) == asked


def test_a_key_that_is_new_is_looked_for(setting: Setting) -> None:
    """A document that is kept is fetched again when it has no such key; one that can't be had is 503."""
    name = f"rotating-{os.urandom(3).hex()}"
    first = setting.documents.partner(name)
    held = start(setting, first.did)
    held = held.renewed(ask(held, client_token(setting, held, first)))
    nowhere = replace_key(Partner(f"{first.did}-x", first.key), first)
    unknown = start(setting, nowhere.did)

    assert refused(ask(unknown, client_token(setting, unknown, nowhere))) == (503, "temporarily_unavailable")
    token = jwt.encode(
        {"alg": "ES256", "kid": f"{first.did}#other"},
        {"iss": first.did, "sub": first.did, "aud": setting.provider.did, "token": held.access},
        first.key,
    )
    asked = len(setting.documents.asked)
    assert refused(ask(held, token)) == (401, "invalid_client")
    assert len(setting.documents.asked) == asked + 1


@pytest.mark.parametrize(
    ("content", "status", "word"),
    [
        ({"data": {"refresh_token": "x"}}, 400, "invalid_request"),
        ({"data": {"grant_type": "refresh_token"}}, 400, "invalid_request"),
        ({"data": {"grant_type": "password", "refresh_token": "x"}}, 400, "unsupported_grant_type"),
        ({"data": {"grant_type": ["refresh_token"] * 2, "refresh_token": "x"}}, 400, "invalid_request"),
        ({"content": b"\xff" * 50, "headers": {"Content-Type": FORM}}, 400, "invalid_request"),
        ({"content": b"a&" * 500, "headers": {"Content-Type": FORM}}, 400, "invalid_request"),
        ({"data": {"grant_type": "refresh_token", "refresh_token": "x"}}, 401, "invalid_client"),
    ],
)
def test_a_request_that_is_wrong_is_refused(
    pull: Tokens, content: dict[str, Any], status: int, word: str
) -> None:
    """In OAuth's words, whatever is sent."""
    assert refused(CLIENT.post(pull.endpoint, **content)) == (status, word)


def test_forms_are_for_the_refresh_endpoint_only(setting: Setting) -> None:
    """Pages of strangers can send forms without asking: everywhere else they are refused."""
    url = f"{setting.rig.plane.url}/management/locations"
    assert CLIENT.post(url, data={"name": "x"}).status_code == 415


def test_no_token_is_in_the_log_or_in_plain_in_the_database(setting: Setting, pull: Tokens) -> None:
    """Digests are kept, and nothing that could be shown to the gateway."""
    fresh = pull.renewed(ask(pull, client_token(setting, pull)))
    proof = client_token(setting, fresh, aud="did:web:x")
    ask(fresh, proof)
    directory: Path = setting.rig.plane.database.parent
    kept = b"".join(path.read_bytes() for path in directory.glob("dataferry.db*"))
    said = setting.rig.plane.process.log.read_bytes()

    for token in (pull.access, pull.refresh, fresh.access, fresh.refresh, proof):
        assert token.encode() not in kept
        assert token.encode() not in said
