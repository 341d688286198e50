"""Datasets as operators see and set them."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import ConfigDict, Field

from dataferry.api.management.entries import PARTICIPANTS, Body, Key, Name, Text, one, page, plain, seen
from dataferry.api.operators import MayConfigure, MayRead
from dataferry.api.services import services_of
from dataferry.domain.location import Dataset

router = APIRouter(tags=["catalogue"])


class DatasetBody(Body):
    """A dataset; its id or pattern stands in the path."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"source": "plant-a:measurements/{datasetId}/"}]}
    )

    source: Text = Field(description="`location:path`; `{datasetId}` stands for the id.")
    prepare_wait_s: float | None = Field(default=None, ge=0)
    bandwidth_bytes_per_s: int | None = Field(default=None, gt=0)
    labels: list[Text] = Field(default_factory=list, max_length=100)
    control_planes: list[Text] = Field(
        default_factory=list, max_length=100, description="Ids of control planes, with `*`; empty: for all."
    )
    participants: list[Text] = Field(default_factory=list, max_length=1000, description=PARTICIPANTS)
    include: list[Text] = Field(
        default_factory=list, max_length=200, description="Patterns of names that belong to it; empty: all."
    )
    exclude: list[Text] = Field(default_factory=list, max_length=200)


@router.get("/datasets", summary="List datasets")
def list_datasets(request: Request, operator: MayRead) -> dict[str, Any]:
    """Return all datasets."""
    return page(plain(entry) for entry in seen(request, operator).datasets())


@router.get("/datasets/{match:path}", summary="Show a dataset")
def show_dataset(request: Request, operator: MayRead, match: Name) -> dict[str, Any]:
    """Return one dataset, by the id or pattern that it was made with."""
    return plain(one(seen(request, operator).datasets(), "match", match, "dataset"))


@router.put("/datasets/{match:path}", summary="Create or replace a dataset")
def put_dataset(request: Request, operator: MayConfigure, match: Key, body: DatasetBody) -> dict[str, Any]:
    """Write a dataset."""
    names = ("labels", "control_planes", "participants", "include", "exclude")
    lists = {key: tuple(getattr(body, key)) for key in names}
    services_of(request).catalogue.datasets.put(Dataset(match=match, **(body.model_dump() | lists)))
    return show_dataset(request, operator, match)


@router.delete("/datasets/{match:path}", summary="Delete a dataset", status_code=204)
def delete_dataset(request: Request, _operator: MayConfigure, match: Name) -> Response:
    """Delete a dataset."""
    services_of(request).catalogue.datasets.delete(match)
    return Response(status_code=204)
