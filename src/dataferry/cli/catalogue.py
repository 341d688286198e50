"""``dataferry datasets|locations|landing-zones|mechanisms|control-planes``: what a service is set up with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from dataferry.cli.options import DEFAULT_URL, ApiKey, AsJson, Url
from dataferry.cli.output import print_facts, print_json, print_table


def _group(help_: str) -> typer.Typer:
    """A group of commands."""
    return typer.Typer(help=help_, no_args_is_help=True, rich_markup_mode=None)


datasets = _group("Datasets that a running service offers.")
locations = _group("Locations of a running service.")
landing_zones = _group("Landing zones of a running service.")
mechanisms = _group("Ways of moving bytes in this installation.")
control_planes = _group("Control planes of a running service.")

Name = Annotated[str, typer.Argument(metavar="NAME")]


def _list(
    resource: str, columns: Sequence[tuple[str, str]], *, as_json: bool, url: str, api_key: str | None
) -> None:
    """Print every entry of a resource; ``columns`` are (heading, key)."""
    from dataferry.cli.client import ManagementClient

    with ManagementClient(url, api_key) as client:
        found = list(client.pages(resource))
    if as_json:
        print_json(found)
        return
    rows = ([entry.get(key) for _, key in columns] for entry in found)
    print_table([heading for heading, _ in columns], rows, empty=f"no {resource.replace('-', ' ')}")


def _show(resource: str, name: str, *, as_json: bool, url: str, api_key: str | None) -> None:
    """Print one entry of a resource."""
    from dataferry.cli.client import ManagementClient

    with ManagementClient(url, api_key) as client:
        found: dict[str, Any] = client.get(resource, name)
    if as_json:
        print_json(found)
    else:
        print_facts(found.items())


@datasets.command("list")
def list_datasets(*, as_json: AsJson = False, url: Url = DEFAULT_URL, api_key: ApiKey = None) -> None:
    """List datasets and where their bytes are."""
    columns = (("dataset", "match"), ("source", "source"), ("configured", "configured"))
    _list("datasets", columns, as_json=as_json, url=url, api_key=api_key)


@datasets.command("show")
def show_dataset(
    name: Name, *, as_json: AsJson = False, url: Url = DEFAULT_URL, api_key: ApiKey = None
) -> None:
    """Show one dataset."""
    _show("datasets", name, as_json=as_json, url=url, api_key=api_key)


@locations.command("list")
def list_locations(*, as_json: AsJson = False, url: Url = DEFAULT_URL, api_key: ApiKey = None) -> None:
    """List locations."""
    columns = (("location", "name"), ("type", "type"), ("configured", "configured"))
    _list("locations", columns, as_json=as_json, url=url, api_key=api_key)


@locations.command("show")
def show_location(
    name: Name, *, as_json: AsJson = False, url: Url = DEFAULT_URL, api_key: ApiKey = None
) -> None:
    """Show one location; secrets are not shown."""
    _show("locations", name, as_json=as_json, url=url, api_key=api_key)


@locations.command("test")
def try_location(
    name: Name,
    *,
    path: Annotated[str, typer.Option("--path", metavar="PATH", help="Where in it, e.g. a bucket.")] = "",
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """Have the service try to read a place in a location; nothing is written. Exit 1 if it can't."""
    from dataferry.cli.client import ManagementClient

    with ManagementClient(url, api_key) as client:
        found: dict[str, Any] = client.post("locations", name, "test", body={"path": path})
    if as_json:
        print_json(found)
    else:
        row = [found["location"], "ok" if found["ok"] else "WRONG", found["error"]]
        print_table(("location", "", "detail"), [row], empty="")
    if not found["ok"]:
        raise typer.Exit(1)


@landing_zones.command("list")
def list_landing_zones(*, as_json: AsJson = False, url: Url = DEFAULT_URL, api_key: ApiKey = None) -> None:
    """List landing zones and where they put things."""
    columns = (
        ("zone", "name"),
        ("mode", "mode"),
        ("sink", "sink"),
        ("profiles", "profiles"),
        ("datasets", "datasets"),
        ("configured", "configured"),
    )
    _list("landing-zones", columns, as_json=as_json, url=url, api_key=api_key)


@control_planes.command("list")
def list_control_planes(*, as_json: AsJson = False, url: Url = DEFAULT_URL, api_key: ApiKey = None) -> None:
    """List control planes, and whether we are registered with them."""
    columns = (
        ("control plane", "id"),
        ("endpoint", "endpoint"),
        ("provenance", "provenance"),
        ("registered", "registeredAt"),
        ("error", "lastError"),
    )
    _list("control-planes", columns, as_json=as_json, url=url, api_key=api_key)


@mechanisms.command("list")
def list_mechanisms(*, as_json: AsJson = False) -> None:
    """List mechanisms of this installation; needs no running service."""
    from dataferry.mechanisms.registry import Registry

    found = [_mechanism(mechanism) for mechanism in Registry().all()]
    if as_json:
        print_json(found)
        return
    rows = ([m["name"], m["urlSchemes"], m["profiles"], m["description"]] for m in found)
    print_table(("mechanism", "URLs", "profiles", "description"), rows, empty="no mechanisms")


@mechanisms.command("show")
def show_mechanism(name: Name, *, as_json: AsJson = False) -> None:
    """Show a mechanism: capabilities, and the schemas of its settings, addresses and metadata."""
    from dataferry.mechanisms.registry import Registry

    mechanism = Registry().get(name)
    found = _mechanism(mechanism)
    if as_json:
        schemas = {
            "locationSchema": dict(mechanism.location_schema),
            "addressSchema": dict(mechanism.address_schema),
            "metadataSchema": dict(mechanism.metadata_schema),
        }
        print_json({**found, **schemas})
        return
    print_facts(found.items())
    properties: dict[str, Any] = mechanism.location_schema.get("properties", {})
    rows = ([key, schema.get("description")] for key, schema in properties.items())
    print_table(("key of a location", "meaning"), rows, empty="no settings")


def _mechanism(mechanism: Any) -> dict[str, Any]:
    """A mechanism as JSON."""
    return {
        "name": mechanism.name,
        "description": mechanism.description,
        "urlSchemes": list(mechanism.url_schemes),
        "profiles": [name for profile in mechanism.profiles for name in profile.names],
        "sourceCapabilities": sorted(mechanism.source_capabilities),
        "sinkCapabilities": sorted(mechanism.sink_capabilities),
    }
