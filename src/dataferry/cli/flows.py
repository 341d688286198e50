"""``dataferry flows``: look at data flows and steer them."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any

import typer

from dataferry.cli.options import DEFAULT_URL, ApiKey, AsJson, Url
from dataferry.cli.output import (
    as_size,
    as_text,
    as_time,
    print_facts,
    print_json,
    print_table,
    printable,
    table,
)

group = typer.Typer(help="Data flows of a running service.", no_args_is_help=True, rich_markup_mode=None)

COLUMNS = ("flow", "state", "run", "role", "dataset", "done", "moved")
WATCHED = ("flow", "state", "run", "done", "moved", "rate", "left")
# What `show` tells of a flow, in this order, where there is something to tell.
FACTS = (
    "dataFlowId", "processId", "id", "correlationId", "state", "run", "landing", "waitingFor", "reason",
    "lastErrorKind", "lastError",
    "source", "sink", "role", "direction", "profile", "mechanism", "controlPlaneId", "participantContextId",
    "participantId", "counterPartyId", "dataspaceContext", "agreementId", "datasetId", "labels",
    "verification", "attempt", "createdAt", "updatedAt",
)  # fmt: skip
COUNTS = ("bytesResumed", "bytesRetransferred", "bytesVerified")
MAX_FAILURES = 20
WATCH_INTERVAL_S = 0.5
FINISHED_RUNS = {"held", "failed", "done"}
FINAL_STATES = {"COMPLETED", "TERMINATED"}

FlowId = Annotated[str, typer.Argument(help="Its dataFlowId, processId or internal id.", metavar="FLOW")]
Reason = Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Kept in the flow's events.")]


def row(flow: dict[str, Any]) -> list[str]:
    """One line of `list` for a flow."""
    return [
        *_standing(flow),
        as_text(flow.get("role")),
        as_text(flow.get("datasetId")),
        _percent(flow),
        as_size(flow.get("bytesTransferred")),
    ]


def watched(flow: dict[str, Any]) -> list[str]:
    """One line of `watch` for a flow."""
    throughput, eta = flow.get("throughput"), flow.get("eta")
    return [
        *_standing(flow),
        _percent(flow),
        as_size(flow.get("bytesTransferred")),
        f"{as_size(throughput)}/s" if throughput else "-",
        "-" if eta is None else f"{eta:,.0f} s",
    ]


def facts(flow: dict[str, Any]) -> list[tuple[str, str]]:
    """What `show` tells of a flow."""
    told = [(name, as_text(flow[name])) for name in FACTS if flow.get(name) not in (None, [], "")]
    if flow.get("objectsTotal") is not None:
        also = [
            f"{flow[f'objects{word}']} {word.lower()}"
            for word in ("Skipped", "Failed")
            if flow.get(f"objects{word}")
        ]
        objects = f"{flow.get('objectsDone')} of {flow['objectsTotal']} moved"
        told.append(("objects", ", ".join([objects, *also])))
    if flow.get("bytesTransferred") is not None:
        total = flow.get("bytesTotal")
        of = "" if total is None else f" of {as_size(total)} ({_percent(flow)})"
        told.append(("bytes", f"{as_size(flow['bytesTransferred'])}{of}"))
    told += [(name, as_size(flow[name])) for name in COUNTS if flow.get(name)]
    told += _agreement(flow.get("agreement"))
    return [(name, as_time(value) if name.endswith("At") else value) for name, value in told]


def _agreement(agreement: dict[str, Any] | None) -> list[tuple[str, str]]:
    """What `show` tells of a contract agreement; the policy is for `--json`."""
    if agreement is None:
        return []
    parties = [agreement[name] for name in ("providerId", "consumerId") if agreement[name]]
    said = [("agreement", agreement["standing"])]
    said += [("agreed by", " and ".join(parties))] if parties else []
    said += [
        (f"agreement {name}", agreement[f"{name}At"]) for name in ("signed", "ends") if agreement[f"{name}At"]
    ]
    said = [(name, as_time(value) if name[-4:] in {"gned", "ends"} else value) for name, value in said]
    return [*said, *([("agreement error", agreement["error"])] if agreement["error"] else [])]


def failed(flow: dict[str, Any], objects: list[dict[str, Any]], url: str) -> list[str]:
    """Lines that tell the first objects that failed, and where all of them are listed."""
    lines = [f"{entry['name']}: {entry['lastErrorKind']}: {entry['lastError']}" for entry in objects]
    if objects and len(objects) < flow["objectsFailed"]:
        more = flow["objectsFailed"] - len(objects)
        all_of_them = f"{url.rstrip('/')}/management/dataflows/{flow['id']}/objects?state=failed"
        lines.append(f"and {more:,} more: GET {all_of_them}")
    return lines


def _standing(flow: dict[str, Any]) -> list[str]:
    return [
        as_text(flow.get("dataFlowId") or flow.get("id")),
        as_text(flow.get("state")),
        as_text(flow.get("run")),
    ]


def _percent(flow: dict[str, Any]) -> str:
    percent = flow.get("percentComplete")
    return "-" if percent is None else f"{percent:.0f} %"


def _print_flows(found: list[dict[str, Any]]) -> None:
    """A table, and below it what went wrong: errors are too long for a column."""
    print_table(COLUMNS, map(row, found), empty="no data flows")
    for flow in found:
        if flow.get("lastError"):
            sys.stdout.write(printable(f"{_standing(flow)[0]}: {flow['lastError']}") + "\n")


@group.command("list")
def list_(
    *,
    state: Annotated[
        str | None, typer.Option("--state", metavar="STATE", help="Only flows in this state.")
    ] = None,
    run: Annotated[
        str | None, typer.Option("--run", metavar="RUN", help="Only flows in this run state.")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, help="At most so many, newest first.")
    ] = 100,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """List data flows, newest first."""
    from itertools import islice

    from dataferry.cli.client import ManagementClient

    with ManagementClient(url, api_key) as client:
        found = list(islice(client.pages("dataflows", state=state, run=run, limit=min(limit, 100)), limit))
    if as_json:
        print_json(found)
    else:
        _print_flows(found)


@group.command()
def show(flow: FlowId, *, as_json: AsJson = False, url: Url = DEFAULT_URL, api_key: ApiKey = None) -> None:
    """Show one data flow with its latest events."""
    from itertools import islice

    from dataferry.cli.client import ManagementClient

    with ManagementClient(url, api_key) as client:
        found = client.get("dataflows", flow)
        events = list(islice(client.pages("dataflows", flow, "events"), 1000))
        failures: list[dict[str, Any]] = []
        if found.get("objectsFailed"):
            pages = client.pages("dataflows", flow, "objects", state="failed", limit=MAX_FAILURES)
            failures = list(islice(pages, MAX_FAILURES))
    if as_json:
        print_json({**found, "failures": failures, "events": events})
        return
    print_facts(facts(found))
    for line in failed(found, failures, url):
        sys.stdout.write(printable(line) + "\n")
    print_table(
        ("at", "by", "event", "reason"),
        ([as_time(e.get("at")), e.get("actor"), e.get("kind"), e.get("reason")] for e in events[-20:]),
        empty="no events",
    )


@group.command("data-address")
def data_address(
    flow: FlowId,
    *,
    control_plane: Annotated[
        str | None, typer.Option("--control-plane", metavar="ID", help="Only its flows are meant.")
    ] = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """Print where and how a flow's data can be read now: credentials included."""
    from dataferry.cli.client import ManagementClient

    with ManagementClient(url, api_key) as client:
        found: dict[str, Any] = client.get("dataflows", flow, "data-address", control_plane=control_plane)
    if as_json:
        print_json(found)
        return
    address = found["dataAddress"]
    told = [(name, address[name]) for name in ("endpointType", "endpoint")]
    told += [(entry["name"], entry["value"]) for entry in address["endpointProperties"]]
    for name, value in [*told, ("expiresAt", as_time(found["expiresAt"]))]:
        # On one line each, so that a token can be copied.
        sys.stdout.write(printable(f"{name}: {value}") + "\n")


@group.command()
def watch(
    flow: Annotated[str | None, typer.Argument(help="One flow; all if not given.", metavar="FLOW")] = None,
    *,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """Watch progress live; ends when the flow has ended, or with Ctrl-C."""
    from rich.live import Live

    from dataferry.cli.client import ManagementClient

    with ManagementClient(url, api_key) as client, Live(refresh_per_second=4) as live:
        while True:
            if flow is None:
                found = client.get("dataflows", limit=30)
                shown = found["items"] if isinstance(found, dict) else found
            else:
                shown = [client.get("dataflows", flow)]
            live.update(table(WATCHED, list(map(watched, shown))))
            if flow is not None and _has_ended(shown[0]):
                break
            time.sleep(WATCH_INTERVAL_S)
    if shown[0].get("run") == "failed":
        raise typer.Exit(1)


def _has_ended(flow: dict[str, Any]) -> bool:
    """True if nothing will change by itself."""
    return flow.get("state") in FINAL_STATES or flow.get("run") in FINISHED_RUNS


def _steer(
    flow: str, verb: str, body: dict[str, Any], *, as_json: bool, url: str, api_key: str | None
) -> None:
    """Send one verb, and print what became of the flow."""
    from dataferry.cli.client import ManagementClient

    with ManagementClient(url, api_key) as client:
        answer = client.post("dataflows", flow, verb, body={k: v for k, v in body.items() if v is not None})
        found = answer if isinstance(answer, dict) and "state" in answer else client.get("dataflows", flow)
    if as_json:
        print_json(found)
    else:
        _print_flows([found])


@group.command()
def pause(flow: FlowId, *, as_json: AsJson = False, url: Url = DEFAULT_URL, api_key: ApiKey = None) -> None:
    """Hold the bytes; the control plane's state stays as it is."""
    _steer(flow, "pause", {}, as_json=as_json, url=url, api_key=api_key)


@group.command()
def unpause(flow: FlowId, *, as_json: AsJson = False, url: Url = DEFAULT_URL, api_key: ApiKey = None) -> None:
    """Go on with a paused flow where it was."""
    _steer(flow, "unpause", {}, as_json=as_json, url=url, api_key=api_key)


@group.command()
def retry(flow: FlowId, *, as_json: AsJson = False, url: Url = DEFAULT_URL, api_key: ApiKey = None) -> None:
    """Try a failed flow again; what has arrived is not moved again."""
    _steer(flow, "retry", {}, as_json=as_json, url=url, api_key=api_key)


@group.command()
def terminate(
    flow: FlowId,
    *,
    reason: Reason = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """End a flow for good, and tell its control plane."""
    _steer(flow, "terminate", {"reason": reason}, as_json=as_json, url=url, api_key=api_key)
