"""``dataferry demo``: two data planes move real data between real S3 servers; one is killed on the way."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

import httpx

from dataferry.demo import cargo
from dataferry.demo.control_plane import NoMessageError
from dataferry.demo.processes import StartError
from dataferry.demo.screen import MIB, Screen
from dataferry.demo.servers import juicefs_program
from dataferry.demo.stage import FULL_PACE, SMALL_PACE, Pace, Stage, servers, set_up
from dataferry.demo.story import Moved, Story, StoryError
from dataferry.demo.witness import WitnessError

FAILED = 1
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# The bytes are there three times (made, pushed, pulled), and servers keep some more while parts come in.
SPACE_FACTOR = 4


class EndedError(BaseException):
    """A signal asked the demo to end.

    Args:
        number: Which.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class NoSpaceError(Exception):
    """The disk has too little room; the message says what to do."""


def run(*, directory: str | None = None, small: bool = False, keep: bool = False) -> int:
    """Play the demo.

    Args:
        directory: Where to make its working directory; the system's place for temporary files if None.
        small: Some seconds and 70 MiB instead of a minute and 1.1 GiB.
        keep: Leave the working directory (logs, databases, objects) and say where it is.

    Returns:
        The exit code: 0 if every byte was verified, 1 if not, 128 + the number of a signal that ended it.
    """
    screen = Screen()
    pace = SMALL_PACE if small else FULL_PACE
    try:
        with _signals_end_it(), _workplace(directory, keep=keep, screen=screen) as place:
            return _play(place, pace, screen)
    except EndedError as ended:
        screen.verdict("Interrupted. Everything that was started has been ended.", good=False)
        return 128 + ended.number
    except (
        NoSpaceError,
        StartError,
        StoryError,
        NoMessageError,
        WitnessError,
        httpx.HTTPError,
        OSError,
    ) as error:
        screen.verdict(f"The demo failed: {error or type(error).__name__}", good=False)
        return FAILED


def _play(place: Path, pace: Pace, screen: Screen) -> int:
    """Set the stage, play, tell the end."""
    juicefs_program()
    _check_space(place, pace)
    screen.title("DataFerry: two data planes move real data between two S3 servers")
    with ExitStack() as stack:
        storages = servers(stack, place)
        screen.step("two S3 servers run", _places(storages[0].port, storages[1].port))
        manifest = cargo.make(storages[0], "measurements", pace.cargo)
        made = f"{len(manifest.objects):,} objects, {manifest.total_bytes / MIB:,.0f} MiB"
        screen.step("provider's bucket filled", made)
        stage = set_up(stack, place, storages, pace)
        screen.step("two data planes run", _places(stage.provider.plane.port, stage.consumer.plane.port))
        story = Story(stage, manifest, pace, screen)
        story.register()
        screen.title("Push: the provider sends its bucket; suspend, resume, kill -9 on the way")
        pushed = story.push()
        screen.title("Pull: the consumer fetches one object, as fast as it goes")
        pulled = story.pull()
        screen.title("Proof: every byte is read back from the S3 servers")
        wrong = story.verify()
        return _tell(screen, stage, pace, (pushed, pulled), wrong)


def _tell(screen: Screen, stage: Stage, pace: Pace, moved: tuple[Moved, Moved], wrong: list[str]) -> int:
    """Write the summary; return the exit code."""
    pushed, pulled = moved
    if pushed.bytes_again > pace.kill_cost_bytes:
        wrong.append(f"the crash cost {pushed.bytes_again} bytes, more than the parts in flight")
    limit = pace.bandwidth_bytes_per_s / MIB
    screen.title("Summary")
    screen.fact("push", f"{pushed.bytes / MIB:,.0f} MiB at {pushed.speed} (held at {limit:.0f} to watch it)")
    screen.fact("pull", f"{pulled.bytes / MIB:,.0f} MiB at {pulled.speed}")
    cost = f"{pushed.bytes_again / MIB:,.1f} MiB (at most {pace.kill_cost_bytes / MIB:.0f}: parts in flight)"
    screen.fact("moved twice because of kill -9", cost)
    callbacks = [f"{one.kind}" for one in stage.provider.control_plane.accepted("push-provider")]
    screen.fact("callbacks of the push", ", ".join(callbacks))
    screen.fact("time", f"{screen.seconds:.0f} s")
    for line in wrong:
        screen.line(f"  WRONG  {line}")
    if wrong:
        screen.verdict("Not everything is as it should be.", good=False)
        return FAILED
    screen.verdict("Every byte arrived and was verified.", good=True)
    screen.line("Next:  docs/howto/first-transfer.md   a plane of your own, in ten minutes")
    screen.line("       docs/architecture.md           how it works")
    screen.line("       dataferry copy SRC DST         one transfer, no control plane")
    screen.line("       dataferry serve --help         the data plane itself")
    return 0


def _places(provider_port: int, consumer_port: int) -> str:
    """Where both sides' programs listen."""
    return f"127.0.0.1:{provider_port} and :{consumer_port}"


def _check_space(place: Path, pace: Pace) -> None:
    """Refuse to begin what the disk can't hold.

    Raises:
        NoSpaceError: There is too little room.
    """
    needed = SPACE_FACTOR * (pace.cargo.large_bytes + pace.cargo.small_objects * 34 * 1024)
    free = shutil.disk_usage(place).free
    if free < needed:
        raise NoSpaceError(
            f"{place.parent} has {free / MIB:,.0f} MiB free and the demo needs {needed / MIB:,.0f}; "
            "name another place with --directory, or take --small"
        )


@contextmanager
def _workplace(directory: str | None, *, keep: bool, screen: Screen) -> Iterator[Path]:
    """Make a working directory; take it away at the end, or say where it is."""
    place = Path(tempfile.mkdtemp(prefix="dataferry-demo-", dir=directory))
    try:
        yield place
    finally:
        if keep:
            screen.line(f"Kept: {place}")
        else:
            shutil.rmtree(place, ignore_errors=True)


@contextmanager
def _signals_end_it() -> Iterator[None]:
    """Turn the first signal into ``EndedError``; further ones do not disturb the clearing up."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        del frame
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise EndedError(number)

    before = [(each, signal.signal(each, end)) for each in SIGNALS]
    try:
        yield
    finally:
        for each, handler in before:
            signal.signal(each, handler)
