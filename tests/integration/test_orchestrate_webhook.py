"""The operator's webhook: told of every end, signed, again where it was not taken, and not for ever."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import ValidationError
from tests.servers.edc import EdcConnector
from tests.servers.orchestrator import CONNECTOR_KEY, KEY, Orchestrating, orchestrating, settings
from tests.servers.webhook import HANG, HANG_UP, Notice, Receiver

from dataferry.api.orchestration.webhook import HttpWebhook, key_of, signature
from dataferry.app.composition import build
from dataferry.app.settings import Settings
from dataferry.domain.clock import SystemClock
from dataferry.domain.errors import ConfigError, DatabaseUnavailableError, GoneError, ProtocolError
from dataferry.domain.orchestration import Orchestration, Standing
from dataferry.flows.orchestration import notices
from dataferry.flows.orchestration.orchestrator import OrchestrationView
from dataferry.flows.policy import Backoff
from dataferry.net.connections import Network

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwAAAAAAAA"
TOKEN = "token-of-the-receiver-0123456789"

View = dict[str, Any]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Who is told."""
    with Receiver(SECRET) as made:
        yield made


@pytest.fixture
def rig(tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Iterator[Orchestrating]:
    """A service with a webhook, which does not wait long."""
    monkeypatch.setattr(notices, "POLL_INTERVAL_S", 0.05)
    with orchestrating(tmp_path, **hooked(receiver)) as made:
        hasty(made)
        yield made


def hooked(receiver: Receiver, **changes: Any) -> dict[str, Any]:
    """A configuration with a webhook."""
    return {"orchestrator": {"webhook": {"url": receiver.url, "secret": SECRET, "timeout_s": 0.5, **changes}}}


def sender(rig: Orchestrating) -> notices.NoticeSender:
    """Who sends."""
    return next(part for part in rig.service._parts if isinstance(part, notices.NoticeSender))


def hasty(rig: Orchestrating, *, give_up_after_s: float = 60.0) -> None:
    """Let it try again soon."""
    backoff = Backoff(first_s=0.05, most_s=0.1)
    sender(rig)._policy = notices.NoticePolicy(backoff=backoff, give_up_after_s=give_up_after_s)


def begin_one(rig: Orchestrating) -> str:
    """Ask for one thing that is there; return the orchestration's id."""
    rig.put("c", "/c.json", b"{}")
    return rig.begin("c")


def settled(rig: Orchestrating, id_: str) -> View:
    """Return how the notice stands once it is settled."""
    view = rig.wait(id_, until=lambda view: (view["webhook"] or {}).get("settled_at"))
    found: View = view["webhook"]
    return found


def test_an_end_is_told_as_the_status_shows_it(rig: Orchestrating, receiver: Receiver) -> None:
    """Signed, with an id that stays, and with no key of anybody's."""
    rig.put("c", "/c.json", b"{}")
    id_ = rig.begin("c", properties={"mine": "again"})
    view = rig.wait(id_)
    (notice,) = receiver.wait(1)
    assert notice.is_signed
    assert notice.id == id_
    assert notice.body["type"] == "orchestration.completed"
    assert notice.body["timestamp"] == view["ended_at"]
    assert notice.body["data"] == {name: value for name, value in view.items() if name != "webhook"}
    assert notice.headers["content-type"] == "application/json"
    told = json.dumps([notice.body, notice.headers])
    assert not any(secret in told for secret in (KEY, CONNECTOR_KEY, SECRET, "token-1"))
    assert settled(rig, id_)["status"] == "DELIVERED"
    time.sleep(0.5)
    assert len(receiver.notices) == 1


def test_every_end_is_told(rig: Orchestrating, receiver: Receiver) -> None:
    """Failed, in part, and called off."""
    rig.put("good", "/good.json", b"{}")
    rig.edc.fail("bad", "no")
    for contracts, kind in ((["bad"], "failed"), (["good", "bad"], "partially_completed")):
        id_ = rig.begin(*contracts)
        assert receiver.wait(len(receiver.notices) + 1)[-1].body["type"] == f"orchestration.{kind}"
        assert receiver.notices[-1].id == id_
        settled(rig, id_)
    rig.edc.looks = 10_000
    id_ = rig.begin("good")
    rig.client.delete(f"/orchestrate/{id_}", headers={"X-Api-Key": KEY})
    assert receiver.wait(3)[-1].body["type"] == "orchestration.cancelled"


@pytest.mark.parametrize("fault", [HANG_UP, HANG, 500, 503, 429, 404, 400, 302])
def test_one_that_is_not_taken_is_sent_again(rig: Orchestrating, receiver: Receiver, fault: int) -> None:
    """With the same id, a signature of its own time, and the same content; a redirect is not followed."""
    receiver.answers[:] = [fault, fault]
    receiver.headers["Location"] = receiver.url + "/elsewhere"
    id_ = begin_one(rig)
    first, second, third = receiver.wait(3)
    assert {first.id, second.id, third.id} == {id_}
    assert all(one.is_signed for one in (first, second, third))
    assert first.body == third.body
    state = settled(rig, id_)
    assert (state["status"], state["failed_attempts"], state["error"]) == ("DELIVERED", 2, None)


def test_one_that_is_gone_is_told_nothing_more(rig: Orchestrating, receiver: Receiver) -> None:
    """410 ends it; that shows in the status."""
    receiver.answers[:] = [410]
    id_ = begin_one(rig)
    state = settled(rig, id_)
    assert state["status"] == "GIVEN_UP"
    assert "410" in state["error"]
    time.sleep(0.5)
    assert len(receiver.notices) == 1
    assert rig.status(id_)["process_status"] == "COMPLETED"


def test_it_is_given_up_at_last(rig: Orchestrating, receiver: Receiver) -> None:
    """Nobody answers for so long: the status says so, and why."""
    hasty(rig, give_up_after_s=0.5)
    receiver.answers[:] = [500] * 100
    state = settled(rig, begin_one(rig))
    assert (state["status"], "500" in state["error"]) == ("GIVEN_UP", True)
    assert state["failed_attempts"] >= 2


def test_a_receiver_that_is_down_is_not_asked_for_each(rig: Orchestrating, receiver: Receiver) -> None:
    """Twenty wait; while it does not answer one is tried at a time, and then all arrive."""
    receiver.answers[:] = [503] * 6
    rig.put("c", "/c.json", b"{}")
    ids = {rig.begin("c") for _ in range(20)}
    deadline = time.monotonic() + 60
    while {one.id for one in receiver.notices if one.answered == 204} != ids:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert len(receiver.notices) <= 20 + 6


def test_one_that_was_taken_while_the_database_was_away_is_not_sent_again(
    rig: Orchestrating, receiver: Receiver
) -> None:
    """What could not be written down is kept in mind, as long as the process lives."""
    store = sender(rig)._store
    receiver.on_notice = lambda _: store.suspend("another process may be at work")
    id_ = begin_one(rig)
    receiver.wait(1)
    time.sleep(0.5)
    assert len(receiver.notices) == 1
    store.resume()
    assert settled(rig, id_)["status"] == "DELIVERED"
    time.sleep(0.3)
    assert len(receiver.notices) == 1


def test_one_that_is_forgotten_while_it_is_told_holds_up_no_other(
    rig: Orchestrating, receiver: Receiver
) -> None:
    """Its row is deleted before the receiver has answered: nothing is written, and the next is told."""

    def forget(notice: Notice) -> None:
        receiver.on_notice = lambda _: None
        with sender(rig)._store.transaction() as tx:
            assert tx.orchestrations.forget(UUID(notice.id))

    receiver.on_notice = forget
    begin_one(rig)
    receiver.wait(1)
    assert settled(rig, begin_one(rig))["status"] == "DELIVERED"
    assert not sender(rig)._delivered


def test_none_is_told_twice_at_once(tmp_path: Path, receiver: Receiver) -> None:
    """The database is away for one while the receiver works on another: the next look is after its answer."""
    answer = Event()

    def work(_: Notice) -> None:
        answer.wait(30)

    receiver.on_notice = work
    with orchestrating(tmp_path, **hooked(receiver, timeout_s=30)) as rig, ThreadPoolExecutor(1) as pool:
        sender(rig)._periodic.close()
        ids = [begin_one(rig), begin_one(rig)]
        for id_ in ids:
            rig.wait(id_)
        view = sender(rig)._view

        def away_for_the_first(id_: UUID) -> OrchestrationView:
            if str(id_) == ids[0]:
                receiver.wait(1)
                raise DatabaseUnavailableError("it is away")
            return view(id_)

        sender(rig)._view = away_for_the_first
        tick = pool.submit(sender(rig).tick)
        receiver.wait(1)
        with pytest.raises(TimeoutError):
            tick.result(0.3)
        answer.set()
        with pytest.raises(DatabaseUnavailableError):
            tick.result(30)
        sender(rig)._view = view
        sender(rig).tick()
        assert sorted(notice.id for notice in receiver.notices) == sorted(ids)


def test_one_is_told_however_late(rig: Orchestrating, receiver: Receiver) -> None:
    """Who was down for longer than is tried was this service: the receiver has a right to one try."""
    sender(rig)._periodic.close()
    id_ = begin_one(rig)
    rig.wait(id_)
    hasty(rig, give_up_after_s=0.0)
    sender(rig).tick()
    assert [notice.id for notice in receiver.notices] == [id_]
    assert settled(rig, id_)["status"] == "DELIVERED"


def test_retry_after_is_heeded(rig: Orchestrating, receiver: Receiver) -> None:
    """A receiver may say when."""
    receiver.answers[:] = [503]
    receiver.headers["Retry-After"] = "2"
    times: list[float] = []
    receiver.on_notice = lambda _: times.append(time.monotonic())
    begin_one(rig)
    receiver.wait(2)
    assert times[1] - times[0] > 1.9


def test_a_token_may_show_who_tells(tmp_path: Path) -> None:
    """In place of a signature, or beside it."""
    with (
        Receiver() as receiver,
        orchestrating(tmp_path, **hooked(receiver, secret=None, bearer_token=TOKEN)) as rig,
    ):
        rig.put("c", "/c.json", b"{}")
        rig.begin("c")
        (notice,) = receiver.wait(1)
        assert notice.headers["authorization"] == f"Bearer {TOKEN}"
        assert "webhook-signature" not in notice.headers


def test_what_was_taken_in_before_is_not_told(tmp_path: Path, receiver: Receiver) -> None:
    """A webhook that is configured today hears nothing of the past."""
    with orchestrating(tmp_path) as rig:
        rig.put("c", "/c.json", b"{}")
        id_ = rig.begin("c")
        assert rig.wait(id_)["webhook"] is None
    (tmp_path / "stored").mkdir(exist_ok=True)
    with orchestrating(tmp_path, **hooked(receiver)) as rig:
        rig.put("d", "/d.json", b"{}")
        other = rig.begin("d")
        receiver.wait(1)
        settled(rig, other)
        assert {notice.id for notice in receiver.notices} == {other}


def test_no_request_names_its_own(rig: Orchestrating, receiver: Receiver) -> None:
    """Where a client would have it called is heeded nowhere: that would let it call whatever it likes."""
    rig.put("c", "/c.json", b"{}")
    with Receiver() as other:
        id_ = rig.begin("c", callbackUrl=other.url, callbackAddresses=[{"uri": other.url}])
        settled(rig, id_)
        assert not other.notices


def test_the_signature_is_the_standards() -> None:
    """A message that its libraries are tried with."""
    key = key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    found = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    "secret", ["", "hunter2", "whsec_", "whsec_c2hvcnQ=", "whsec_" + "A" * 31 + "!", "whsec_" + "A" * 200]
)
def test_a_weak_secret_is_refused(secret: str) -> None:
    """With how to make a good one, and without quoting it."""
    with pytest.raises(ConfigError, match="openssl rand") as refused:
        key_of(secret)
    assert not secret or secret.removeprefix("whsec_") not in str(refused.value) or secret == "whsec_"


def test_settings_that_can_not_be(tmp_path: Path, receiver: Receiver) -> None:
    """Nobody that shows itself, no URL, or longer than requests are kept; a reference that leads nowhere."""
    with EdcConnector() as edc:
        for webhook, more in (
            ({"url": receiver.url}, {}),
            ({"url": "ftp://somewhere", "secret": SECRET}, {}),
            ({"url": receiver.url, "secret": SECRET, "give_up_after_s": 172_800}, {"retention_days": 1}),
        ):
            with pytest.raises(ValidationError):
                Settings.model_validate(settings(tmp_path, edc, orchestrator={"webhook": webhook, **more}))
        slashed = {"url": f"{receiver.url}/", "secret": SECRET}
        kept = Settings.model_validate(settings(tmp_path, edc, orchestrator={"webhook": slashed}))
        assert kept.orchestrator.webhook is not None
        assert kept.orchestrator.webhook.url.endswith("/dataferry/")
        hook = {"url": receiver.url, "secret": "env:NO_SUCH_VARIABLE"}
        with pytest.raises(ConfigError, match=r"orchestrator\.webhook\.secret"):
            build(Settings.model_validate(settings(tmp_path, edc, orchestrator={"webhook": hook})))


@pytest.mark.parametrize(("status", "kind"), [(410, GoneError), (301, ProtocolError), (400, ProtocolError)])
def test_what_an_answer_means(receiver: Receiver, status: int, kind: type[Exception]) -> None:
    """Only 410 is for good; and no answer's words get into ours."""
    receiver.answers[:] = [status]
    now = datetime.now(UTC)
    order = Orchestration(
        id=uuid4(),
        connector_address="http://edc",
        entries=0,
        standing=Standing.COMPLETED,
        created_at=now,
        updated_at=now,
        ended_at=now,
    )
    view = OrchestrationView(orchestration=order, entries=(), progress={})
    with closing(HttpWebhook(Network(), receiver.url, SystemClock(), key=key_of(SECRET))) as webhook:
        with pytest.raises(kind) as refused:
            webhook.tell(view)
        assert str(status) in str(refused.value)
        assert receiver.notices[0].is_signed
