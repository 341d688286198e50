"""``dataferry copy``: one transfer, without a service."""

from __future__ import annotations

import json
import math
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from dataferry.cli.options import Config
from dataferry.cli.output import as_size, printable
from dataferry.domain.errors import DataFerryError, InputError

if TYPE_CHECKING:
    from dataferry.app.outcome import CopyOptions, Outcome
    from dataferry.engine.preview import Preview

MAX_ERRORS_SHOWN = 20
EXAMPLES = """\b
Examples:
  dataferry copy ./measurements/ s3://my-bucket/2026/
  dataferry copy https://example.com/report.pdf plant-a:my-bucket/2026/
  dataferry copy plant-a:data/ plant-b:data/ --include '*.csv' --dry-run
  dataferry copy plant-a:data/ plant-b:data/ --bandwidth 20M --verify readback"""

Source = Annotated[
    str, typer.Argument(metavar="SRC", help="LOCATION:PATH, s3://bucket/key, a URL or a path.")
]
Destination = Annotated[str, typer.Argument(metavar="DST", help="As SRC; ends with / for a prefix.")]
Include = Annotated[
    list[str] | None,
    typer.Option("--include", metavar="PATTERN", help="Only objects of such names; may be repeated."),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option("--exclude", metavar="PATTERN", help="No objects of such names; wins over --include."),
]
HowToOverwrite = Annotated[
    str, typer.Option("--overwrite", metavar="POLICY", help="if-different, never or always.")
]
HowToVerify = Annotated[
    str | None,
    typer.Option("--verify", metavar="HOW", help="best, or readback: read what was written, and compare."),
]
WithManifest = Annotated[
    bool,
    typer.Option("--manifest", help="Write objects.jsonl at the destination: what has arrived, proved how."),
]
Workers = Annotated[
    int | None, typer.Option("--workers", metavar="N", min=1, max=256, help="Threads at most, 1 to 256.")
]
PartSize = Annotated[
    str | None, typer.Option("--part-size", metavar="SIZE", help="Least size of a part: 16M, 1G.")
]
MultipartThreshold = Annotated[
    str | None,
    typer.Option("--multipart-threshold", metavar="SIZE", help="Larger objects are sent in parts: 64M."),
]
Bandwidth = Annotated[
    str | None, typer.Option("--bandwidth", metavar="SIZE", help="Bytes a second at most: 10M.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", "-n", help="Tell what would be moved and skipped; move nothing.")
]
LedgerFile = Annotated[
    str | None, typer.Option("--ledger", metavar="FILE", help="Where to remember what has been moved.")
]
Errors = Annotated[
    str | None,
    typer.Option("--errors", metavar="FILE", help="Write failed objects there, as JSON lines; - is stdout."),
]
ResultAsJson = Annotated[bool, typer.Option("--json", help="Print the result as one line of JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary.")]


def add_to(application: typer.Typer) -> None:
    """Add these commands."""
    application.command(epilog=EXAMPLES)(copy)


def copy(
    source: Source,
    destination: Destination,
    *,
    include: Include = None,
    exclude: Exclude = None,
    overwrite: HowToOverwrite = "if-different",
    verify: HowToVerify = None,
    manifest: WithManifest = False,
    workers: Workers = None,
    part_size: PartSize = None,
    multipart_threshold: MultipartThreshold = None,
    bandwidth: Bandwidth = None,
    dry_run: DryRun = False,
    config: Config = None,
    ledger: LedgerFile = None,
    errors: Errors = None,
    as_json: ResultAsJson = False,
    quiet: Quiet = False,
) -> None:
    """Copy an object, a prefix, a bucket or a directory. Run it again to resume."""
    from dataferry.app.copy import copy as run
    from dataferry.app.outcome import CopyOptions, Outcome
    from dataferry.cli.progress import watcher

    try:
        options = CopyOptions.of(
            include=include or (),
            exclude=exclude or (),
            overwrite=overwrite,
            verify=verify,
            manifest=manifest,
            workers=workers,
            part_size=part_size,
            multipart_threshold=multipart_threshold,
            bandwidth=bandwidth,
            config=config,
            ledger=ledger,
            errors=errors,
        )
    except InputError as error:
        raise typer.BadParameter(str(error)) from error
    if dry_run:
        _preview(source, destination, options, as_json=as_json)
        return
    try:
        with watcher(quiet=quiet) as observer:
            outcome = run(source, destination, options, observer)
    except DataFerryError:
        if as_json:  # the result is its last line, also where the copy could not begin
            sys.stdout.write(json.dumps(Outcome(state="failed").as_json()) + "\n")
        raise
    _report(outcome, as_json=as_json, quiet=quiet)
    if outcome.exit_code:
        raise typer.Exit(outcome.exit_code)


def _report(outcome: Outcome, *, as_json: bool, quiet: bool) -> None:
    """Say what became of it: errors and advice on stderr, the result on stdout."""
    for name, kind, error in outcome.failures[:MAX_ERRORS_SHOWN]:
        sys.stderr.write(printable(f"dataferry: {name}: {kind}: {error}") + "\n")
    if len(outcome.failures) < outcome.failed:
        sys.stderr.write(f"dataferry: and {outcome.failed - len(outcome.failures)} more\n")
    if outcome.advice:
        sys.stderr.write(f"dataferry: {printable(outcome.advice)}\n")
    if as_json:
        sys.stdout.write(json.dumps(outcome.as_json()) + "\n")
    elif not quiet:
        sys.stdout.write(_summary(outcome))


def _summary(outcome: Outcome) -> str:
    """The line for people."""
    if outcome.state == "interrupted":
        return f"interrupted after {outcome.seconds:.1f} s: {as_size(outcome.bytes)} arrived\n"
    objects = "1 object" if outcome.objects == 1 else f"{outcome.objects:,} objects"
    there = f" ({outcome.objects_skipped:,} already there)" if outcome.objects_skipped else ""
    sent = outcome.bytes_moved + outcome.bytes_copied
    rate = f" ({as_size(sent / outcome.seconds)}/s)" if sent else ""
    by_store = f"{as_size(outcome.bytes_copied)} copied by the store" if outcome.bytes_copied else ""
    moved = f"{as_size(outcome.bytes_moved)} moved" if outcome.bytes_moved or not by_store else ""
    resumed = f", {as_size(outcome.bytes_resumed)} resumed" if outcome.bytes_resumed else ""
    return (
        f"{outcome.state}: {objects}, {as_size(outcome.bytes)}{there}; "
        f"{' and '.join(filter(None, (moved, by_store)))} in {outcome.seconds:.1f} s{rate}{resumed}, "
        f"verified: {outcome.verification}\n"
    )


def _preview(source: str, destination: str, options: CopyOptions, *, as_json: bool) -> None:
    """Say what a copy would do."""
    from dataferry.app.copy import plan
    from dataferry.cli.progress import Silent

    found = plan(source, destination, options, Silent())
    if as_json:
        sys.stdout.write(json.dumps(found.as_json()) + "\n")
        return
    size = f"{as_size(found.bytes_to_move)} of {as_size(found.bytes)}"
    if found.objects_of_unknown_length:
        size += f", and {found.objects_of_unknown_length:,} of unknown length"
    lines = [f"would move {found.objects_to_move:,} of {found.objects:,} objects, {size}"]
    lines += [f"  {name}" for name in found.names]
    more = found.objects_to_move - len(found.names) - len(found.refused)
    lines += [f"  and {more:,} more"] if more > 0 else []
    lines += [f"  {name}: the destination can't have an object of that name" for name in found.refused]
    if found.left_out:
        lines.append(f"left out by patterns: {found.left_out:,}")
    lines += [f"would skip {count:,}: {reason}" for reason, count in found.skipped.items()]
    lines += estimated(found)
    sys.stdout.write("".join(f"{printable(line)}\n" for line in lines))


def estimated(found: Preview) -> list[str]:
    """Lines that say which way, how many requests and how long, and what that is said from."""
    requests, duration = found.requests, found.duration
    ends = (("source", requests.source), ("destination", requests.destination))
    told = "; ".join(
        f"{end}: {', '.join(f'{count:,} {what}' for what, count in counts.items())}" for end, counts in ends
    )
    count = f"{requests.least:,}" + (f" to {requests.most:,}" if requests.most > requests.least else "")
    lines = [f"route: {found.strategy}: {found.why}", f"requests: {count} ({told})"]
    if requests.objects_in_parts:
        lines.append(f"in parts: {requests.objects_in_parts:,} objects, {requests.parts:,} parts")
    if duration is not None:
        bound = duration.bandwidth_bytes_per_s
        limit = f", at most {as_size(bound)}/s" if bound else ""
        there, here = (
            1000 * seconds for seconds in (duration.source_latency_s, duration.destination_latency_s)
        )
        said_from = (
            f"a request took {there:.1f} ms at the source and "
            f"{here:.1f} ms at the destination, {duration.workers} at once{limit}"
        )
        lines += [f"bandwidth: {sentence}" for sentence in duration.windows]
        lines.append(
            f"time: {duration.least_s:,.1f} s at least ({said_from}); "
            f"{duration.at_reference_s:,.1f} s at 100 MiB/s"
            if math.isfinite(duration.least_s)
            else f"time: it would not end, since nothing may flow ({said_from})"
        )
    return lines
