"""The story of the demo: a push with a suspension and a crash, a pull, and the proof at the end.

Everything goes over HTTP, as between real organisations: Data Plane Signaling between control planes and
planes, the management API for the bars.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from dataferry.demo.cargo import LARGE_KEY, Manifest, compare
from dataferry.demo.control_plane import Reply, message
from dataferry.demo.screen import MIB, Bar, Screen
from dataferry.demo.stage import BUCKET, LARGE_DATASET, PULLED, RECEIVED, Pace, Side, Stage
from dataferry.demo.witness import Witness

PUSH = "https://w3id.org/dspace-sig/profile/s3-push"
PULL = "https://w3id.org/dspace-sig/profile/s3-pull"
SUSPEND_AT = 0.25
KILL_AT = 0.55
POLL_S = 0.1
STEP_TIMEOUT_S = 120.0
OK, ACCEPTED = 200, 202
View = Mapping[str, Any]


class StoryError(Exception):
    """The story took another turn than it should; the message says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What a flow cost.

    Attributes:
        seconds: From the start to the ``completed`` callback, without the time that nothing moved.
        bytes_again: That the S3 server received beyond what it now has: moved twice because of the crash.
    """

    bytes: int
    seconds: float
    bytes_again: int

    @property
    def speed(self) -> str:
        """MiB a second, for people."""
        return f"{self.bytes / MIB / max(self.seconds, 0.001):,.0f} MiB/s"


class Story:
    """Plays the story on a stage.

    Args:
        stage: Both sides, running.
        manifest: What lies in the provider's bucket.
        pace: How fast, and what a crash may cost.
        screen: Where it is told.
    """

    def __init__(self, stage: Stage, manifest: Manifest, pace: Pace, screen: Screen) -> None:
        self._provider = stage.provider
        self._consumer = stage.consumer
        self._manifest = manifest
        self._pace = pace
        self._screen = screen

    def register(self) -> None:
        """Wait until both planes have told their control planes what they offer."""
        for side in (self._provider, self._consumer):
            body = side.control_plane.wait_for("registration").body
            offered = body.get("profiles") or ()
            self._screen.step(f"{body.get('dataplaneId')} registered", f"{len(offered)} transfer profiles")

    def push(self) -> Moved:
        """Push the bucket, with a suspension and a crash on the way."""
        storage = self._consumer.storage
        before = storage.written_bytes()
        address = self._prepare("push-consumer", BUCKET, PUSH)
        self._start("push-provider", BUCKET, PUSH, dataAddress=address)
        self._notify(self._consumer, "push-consumer", "started")
        total = self._manifest.total_bytes
        with self._screen.bar("push", total) as bar:
            began = time.monotonic()
            self._follow(bar, self._provider, "push-provider", _past(SUSPEND_AT * total))
            idle = self._suspend_and_resume(bar)
            self._follow(bar, self._provider, "push-provider", _past(KILL_AT * total))
            idle += self._crash(bar)
            self._follow(bar, self._provider, "push-provider", _is_finished)
            seconds = time.monotonic() - began - idle
        self._provider.control_plane.wait_for("completed", "push-provider")
        self._notify(self._consumer, "push-consumer", "completed")
        again = storage.written_bytes() - before - total
        self._screen.step("completed", f"{again / MIB:,.1f} MiB were moved twice")
        return Moved(bytes=total, seconds=seconds, bytes_again=again)

    def pull(self) -> Moved:
        """Pull the large object."""
        self._prepare("pull-consumer", LARGE_DATASET, PULL)
        reply = self._start("pull-provider", LARGE_DATASET, PULL)
        total = self._manifest.objects[LARGE_KEY][0]
        began = time.monotonic()
        self._notify(self._consumer, "pull-consumer", "started", dataAddress=reply["dataAddress"])
        with self._screen.bar("pull", total) as bar:
            self._follow(bar, self._consumer, "pull-consumer", _is_finished)
            seconds = time.monotonic() - began
        self._consumer.control_plane.wait_for("completed", "pull-consumer")
        self._notify(self._provider, "pull-provider", "completed")
        self._screen.step("completed")
        return Moved(bytes=total, seconds=seconds, bytes_again=0)

    def verify(self) -> list[str]:
        """Read everything back from both servers, and return what is wrong: nothing, if all is well."""
        made = self._manifest.objects
        places = (
            ("the provider's bucket", self._provider, BUCKET, made),
            ("what was pushed", self._consumer, RECEIVED, {f"push-consumer/{k}": v for k, v in made.items()}),
            ("what was pulled", self._consumer, PULLED, {"pull-consumer/volume-0001.raw": made[LARGE_KEY]}),
        )
        wrong = []
        for name, side, bucket, expected in places:
            seen = compare(side.storage, bucket, expected)
            objects = "1 object" if seen.objects == 1 else f"{seen.objects:,} objects"
            found = f"{objects}, {seen.bytes / MIB:,.0f} MiB, SHA-256"
            self._screen.step(f"read back {name}", found)
            wrong += [f"{name}: {key} differs or is missing" for key in seen.wrong]
            with Witness(side.storage) as witness:
                left = {
                    one for key in ("", *list(expected)[-1:]) for one in witness.open_uploads(bucket, key)
                }
            wrong += [f"{name}: the multipart upload {one} was left open" for one in left]
        return wrong

    # Signaling

    def _prepare(self, process_id: str, dataset_id: str, profile: str) -> Any:
        """Prepare the consumer's side; return the address to push to, where there is one."""
        side = self._consumer
        reply = side.control_plane.prepare(side.address, message(process_id, dataset_id, profile))
        body = self._settled(side, reply, "prepared", process_id)
        detail = "PREPARED, with an address to push to" if body.get("dataAddress") else "PREPARED"
        self._screen.step("consumer's plane: prepare", detail)
        return body.get("dataAddress")

    def _start(self, process_id: str, dataset_id: str, profile: str, **fields: Any) -> View:
        """Start the provider's side; return its status message."""
        side = self._provider
        reply = side.control_plane.start_flow(
            side.address, message(process_id, dataset_id, profile, **fields)
        )
        body = self._settled(side, reply, "started", process_id)
        detail = "STARTED, with an address to pull from" if body.get("dataAddress") else "STARTED"
        self._screen.step("provider's plane: start", detail)
        return body

    @staticmethod
    def _settled(side: Side, reply: Reply, kind: str, process_id: str) -> View:
        """Return the final answer: the reply itself, or the callback that a 202 announces."""
        if reply.status == ACCEPTED:
            return side.control_plane.wait_for(kind, process_id).body
        if reply.status != OK:
            raise StoryError(f"{side.plane.name} answered {reply.status}: {dict(reply.body)}")
        return reply.body

    def _notify(self, side: Side, process_id: str, verb: str, **fields: Any) -> Reply:
        """Send one of the synchronous verbs."""
        reply = side.control_plane.notify(side.address, process_id, verb, **fields)
        if reply.status != OK:
            raise StoryError(f"{side.plane.name} answered {verb} with {reply.status}: {dict(reply.body)}")
        return reply

    # Turns of the story

    def _suspend_and_resume(self, bar: Bar) -> float:
        """Suspend, look whether bytes still move, resume; return the seconds that it took."""
        began = time.monotonic()
        self._notify(self._provider, "push-provider", "suspend", reason="maintenance window")
        self._notify(self._consumer, "push-consumer", "suspend", reason="maintenance window")
        before = self._provider.plane.flow("push-provider")
        self._screen.step("suspended", f"at {_moved(before) / MIB:,.0f} MiB")
        self._follow(bar, self._provider, "push-provider", lambda _: time.monotonic() > began + 2)
        after = self._provider.plane.flow("push-provider")
        if _moved(after) != _moved(before):
            raise StoryError("bytes moved while the flow was suspended")
        reply = self._notify(self._consumer, "push-consumer", "resume")
        fresh = {"dataAddress": reply.body["dataAddress"]} if reply.body.get("dataAddress") else {}
        self._notify(self._provider, "push-provider", "resume", **fresh)
        self._screen.step("resumed", "with a fresh address")
        return time.monotonic() - began

    def _crash(self, bar: Bar) -> float:
        """Kill the provider's plane with SIGKILL and start it again; return the seconds that it took."""
        began = time.monotonic()
        self._provider.plane.kill()
        bar.show(None)
        self._screen.step("provider's plane: kill -9", "in the middle of the transfer")
        time.sleep(1)  # So that a person sees it.
        self._provider.plane.start()
        self._screen.step("provider's plane: started again", "goes on from its ledger")
        return time.monotonic() - began

    def _follow(self, bar: Bar, side: Side, process_id: str, until: Callable[[View], bool]) -> View:
        """Show a flow until it is so far.

        Raises:
            StoryError: It failed, ended, or took too long.
        """
        deadline = time.monotonic() + STEP_TIMEOUT_S
        while time.monotonic() < deadline:
            view: View | None = None
            with contextlib.suppress(httpx.HTTPError):
                view = side.plane.flow(process_id)
            bar.show(view)
            if view is not None and view.get("run") == "failed":
                raise StoryError(f"the flow {process_id} failed: {view['lastError']}")
            if view is not None and until(view):
                return view
            time.sleep(POLL_S)
        raise StoryError(f"the flow {process_id} did not get on within {STEP_TIMEOUT_S:.0f} s")


def _moved(view: View) -> int:
    return int(view.get("bytesTransferred") or 0)


def _is_finished(view: View) -> bool:
    return bool(view.get("finished"))


def _past(size_bytes: float) -> Callable[[View], bool]:
    """Until so many bytes are moved."""

    def reached(view: View) -> bool:
        if _is_finished(view):
            raise StoryError("the flow was finished before the story came to its turn")
        return _moved(view) >= size_bytes

    return reached
