"""Figures of loading: images a second that a loader gives against those that training takes, for each data set."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monai.data import CacheDataset, DataLoader, Dataset
from reporting import HERE
from speed_timing import Options, Row, interleaved
from speed_training import Step

from monai_cavga.bundle import BundleDirectoryWorkflow
from monai_cavga.data import check_data

_BUNDLES = {
    "lag": "lag",
    "idrid": "idrid",
    "mvtad": "mvtad",
    "mstc": "mstc",
    "mnist": "one_class",
    "cifar10": "one_class",
}
_ITEMS = 24  # of a data set: enough for a median over seconds, few enough for photographs of 12 million pixels
_LEAST_SECONDS = 0.5


def loading(options: Options) -> list[Row]:
    """(f) For each data set of a folder: the loader alone, and training on what it gave; below 1, training waits."""
    if options.data is None:
        return [Row("any", {}, remark="not measured: pass --data, a folder of data sets")]
    rows = []
    for folder in sorted(each for each in options.data.iterdir() if each.is_dir()):
        kind = check_data(folder, decode=False, progress=False).kind
        if kind in _BUNDLES:
            rows += of_data_set(folder, kind, options)
    return rows or [Row("any", {}, remark=f"not measured: no data set in {options.data.name}")]


def of_data_set(folder: Path, kind: str, options: Options) -> list[Row]:
    """Loading with no worker process and with one, with images decoded and with images kept in memory."""
    named = {"dataset_name": kind} if _BUNDLES[kind] == "one_class" else {}
    given = {"dataset_dir": str(folder), "batch_size": options.training_batch, **named}
    bundle = HERE.parent / "bundles" / _BUNDLES[kind]
    workflow = BundleDirectoryWorkflow(bundle, run_id="training", logging_file=False, **given)
    workflow.initialize()
    get = workflow.parser.get_parsed_content
    items, steps = list(get("train::data"))[:_ITEMS], get("train::preprocessing")
    kept: Any = get("train::dataset") if _BUNDLES[kind] == "one_class" else CacheDataset(items, steps, progress=False)
    batch = next(iter(DataLoader(Dataset(items, steps), batch_size=options.training_batch)))
    step = Step(get("network_def"), batch, discriminator=get("discriminator_def"))
    trained = len(batch["image"]) / interleaved({"step": step}, options.rounds).median("step")
    rows = []
    for what, dataset in (("decoded", Dataset(items, steps)), ("kept in memory", kept)):
        for workers in (0, 1):
            loaded = images_per_second(dataset, options.training_batch, workers=workers)
            numbers = {"loaded, images/s": loaded, "trained, images/s": trained}
            height, width = batch["image"].shape[-2:]
            case = f"{kind}, {height} x {width}, {what}, {workers} worker{'s' * (workers != 1)}"
            rows.append(Row(case, numbers, loaded / trained))
    return rows


def images_per_second(dataset: Sequence[Any], batch: int, *, workers: int) -> float:
    """The loader's rate once it runs: from its first batch on."""
    loader = DataLoader(dataset, batch_size=batch, num_workers=workers, persistent_workers=workers > 0)
    images, start = 0, 0.0
    while True:
        for number, each in enumerate(loader):
            if not start and number == 0:
                start = time.perf_counter()
                continue
            images += len(each["image"])
        if images and time.perf_counter() - start >= _LEAST_SECONDS:
            return images / (time.perf_counter() - start)
