"""Datasets in force: which place in a location an id stands for."""

from __future__ import annotations

from collections.abc import Iterable

from dataferry.domain.errors import InputError, NotFoundError
from dataferry.domain.location import Dataset
from dataferry.engine.selection import Selection
from dataferry.flows.entries import Entry, merged, refuse_configured
from dataferry.flows.locations import Locations
from dataferry.flows.matching import matches, specificity
from dataferry.flows.messages import Caller
from dataferry.store.store import Store


class Datasets:
    """Datasets as they are in force now.

    Args:
        store: Where those made over the API are kept.
        configured: Those of the configuration file.
        locations: The places that they may name.
    """

    def __init__(self, store: Store, configured: Iterable[Dataset], locations: Locations) -> None:
        self._store = store
        self._configured = {entry.match: entry for entry in configured}
        self._locations = locations

    def all(self) -> list[Entry[Dataset]]:
        """Return all datasets, by id or pattern."""
        with self._store.snapshot() as tx:
            rows = tx.catalogue.datasets()
        return merged(self._configured, rows, lambda entry: entry.match)

    def serving(self, dataset_id: str, owner: Caller) -> Dataset:
        """Return the dataset that serves an id: of those for who asks, the most specific.

        Raises:
            NotFoundError: None does.
        """
        found = [e.value for e in self.all() if matches(e.value.match, dataset_id)]
        found.sort(key=lambda entry: specificity(entry.match), reverse=True)
        for dataset in found:
            if self._locations.serve(dataset, owner):
                return dataset
        raise NotFoundError(f"no dataset matches {dataset_id[:200]!r}")

    def put(self, dataset: Dataset) -> None:
        """Create or replace a dataset.

        Raises:
            InputError: It is malformed, or names no location of ours.
            ForbiddenError: It stands in the configuration.
        """
        if not dataset.match:
            raise InputError("a dataset needs an id or a pattern")
        refuse_configured(dataset.match, self._configured, "dataset")
        self._locations.check_ref(dataset.source)
        Selection.of(dataset.include, dataset.exclude)
        with self._store.transaction() as tx:
            tx.catalogue.put_dataset(dataset)

    def delete(self, match: str) -> None:
        """Delete a dataset.

        Raises:
            NotFoundError: There is none.
            ForbiddenError: It stands in the configuration.
        """
        refuse_configured(match, self._configured, "dataset")
        with self._store.transaction() as tx:
            if not tx.catalogue.delete_dataset(match):
                raise NotFoundError(f"there is no dataset {match[:100]!r}")
