# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Calls a function for many items in several processes or threads."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

import datasets
import torch


Item = TypeVar("Item")
Result = TypeVar("Result")


def call_for_all(
    function: Callable[[Item], Result], items: Sequence[Item], *, num_workers: int, description: str, unit: str
) -> Iterator[Result]:
    """
    Yield the results of a function in the order of the items, with a progress bar. Few are in memory at a time.

    Args:
        function: called with each item. For processes it must be possible to pickle it, with what it returns.
        items: the items.
        num_workers: number of processes; 0, or a single item, for threads of this one, as many as there are cores.
        description, unit: words for the progress bar.

    Raises:
        ValueError: `num_workers` is below 0.
    """
    if num_workers < 0:
        raise ValueError(f"num_workers must be at least 0, got {num_workers}.")
    if not items:
        return
    results: Iterable[Result]
    if num_workers == 0 or len(items) < 2:
        results = _in_threads(function, items)
    else:
        results = torch.utils.data.DataLoader(
            _Calls(function, items),
            batch_size=None,
            num_workers=num_workers,
            collate_fn=_unchanged,
            generator=torch.Generator(),  # so that the global one stays as it is
        )
    yield from datasets.utils.tqdm(results, total=len(items), desc=description, unit=unit)


def _in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    workers = os.cpu_count() or 1
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > 4 * workers:  # `map` would submit all items at once
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


class _Calls(torch.utils.data.Dataset, Generic[Item, Result]):
    def __init__(self, function: Callable[[Item], Result], items: Sequence[Item]):
        self.function = function
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Result:
        return self.function(self.items[index])


def _unchanged(result: Any) -> Any:
    return result  # with batch_size=None the collator gets the item of the dataset
