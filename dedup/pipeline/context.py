"""What all stages of one run share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dedup.images import preview_cache
from dedup.store.store import Store
from dedup.types.settings import Settings

if TYPE_CHECKING:  # a scan that finds nothing new starts no process and loads no network
    from dedup.models.weights import WeightsSpec
    from dedup.workers import Runtime


@dataclass(frozen=True)
class Context:
    """weights: loaded by weights.load() where they are first needed."""

    store: Store
    weights: WeightsSpec
    settings: Settings
    runtime: Runtime

    @contextmanager
    def at_work(self) -> Iterator[Context]:
        """Give this context with a pool of worker processes and a folder for previews, until the end of the block."""
        from dedup.workers import worker_pool

        with (
            preview_cache.folder_of(self.store.path) as folder,
            worker_pool(replace(self.runtime, preview_folder=folder)) as runtime,
        ):
            yield replace(self, runtime=runtime)
