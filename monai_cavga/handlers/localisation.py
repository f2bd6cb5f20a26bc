"""The handler that writes each image's maps as files with one fixed scale, and an index of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
from ignite.engine import Engine, Events

from monai_cavga.handlers.colour import Array, as_map, as_photo, blend, grey16, map_layer, resize_map, resize_photo
from monai_cavga.handlers.files import NOTICE, safe_name, save_png, unique_stem, write_atomic
from monai_cavga.handlers.outputs import check_positive, label_of, outputs_of, score_of
from monai_cavga.handlers.panels import Scales, scale_of


class LocalisationHandler:
    """Write each image's maps as 16-bit PNG at source size, an overlay, and an index ``maps.json``.

    A map's pixel is ``round(65535 * clip((value - low) / (high - low), 0, 1))`` with a fixed scale, (0, 1) unless
    ``scales`` says otherwise: values of two images compare, and ``low + (high - low) * pixel / 65535`` gives them back.
    How many values were clipped stands in the index, which is written last and removed first: a folder without
    ``maps.json`` is a run that did not finish. Each process of a distributed run writes to ``rank_<n>/`` with
    its own index.

    Args:
        output_dir: folder, made where missing.
        maps: keys of the maps; the first is laid over the image.
        scales: ``{map: (low, high)}``.
        opacity: in [0, 1], of the overlay at the top of its scale.
        overlay_size: pixels of the overlay's longer side at most; the image is known only at the network's size.

    Raises:
        ValueError: if there is no map or it is named twice, ``opacity`` or a scale is wrong, or ``overlay_size`` is
            below 1.
    """

    def __init__(
        self,
        output_dir: str | Path,
        maps: Sequence[str] = ("attention",),
        *,
        scales: Scales | None = None,
        opacity: float = 0.75,
        overlay_size: int = 1024,
    ) -> None:
        if isinstance(maps, str) or not maps or len(set(maps)) != len(maps):
            raise ValueError(f"maps is {maps!r}, expected a list of different keys such as ['attention', 'residual']")
        if not 0 <= opacity <= 1:
            raise ValueError(f"opacity is {opacity}, expected a number in [0, 1]")
        check_positive(overlay_size=overlay_size)
        self.output_dir = Path(output_dir)
        self.maps = tuple(maps)
        # the files' scale is (0, 1) unless given; the narrower DISPLAY_SCALES are for pictures only
        self.scales = {key: scale_of({key: (0.0, 1.0), **(scales or {})}, key) for key in self.maps}
        self.opacity = opacity
        self.overlay_size = overlay_size
        self._entries: list[dict[str, Any]] = []
        self._used: set[str] = set()

    @property
    def folder(self) -> Path:
        """Where this process writes."""
        return self.output_dir if idist.get_world_size() == 1 else self.output_dir / f"rank_{idist.get_rank()}"

    def attach(self, engine: Engine) -> None:
        """Register with the engine whose outputs are written."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._write)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish)

    def _begin(self, engine: Engine) -> None:
        self._entries, self._used = [], set()
        (self.folder / "maps.json").unlink(missing_ok=True)

    def _write(self, engine: Engine) -> None:
        for name, source, item in outputs_of(engine):
            self._entries.append(self._write_one(name, source, item))

    def _write_one(self, name: str, source: str | None, item: Mapping[str, Any]) -> dict[str, Any]:
        missing = [key for key in ("image", *self.maps) if key not in item]
        if missing:
            raise ValueError(f"output has no {missing} but {sorted(item)}: name the maps that the inferer returns")
        suffixes = {key: f"_{safe_name(key)}.png" for key in self.maps}
        stem = unique_stem(name, [*suffixes.values(), "_overlay.png"], self._used)
        files: dict[str, dict[str, Any]] = {}
        for key in self.maps:
            low, high = self.scales[key]
            values = as_map(item[key], name=f"map {key!r}")
            try:
                pixels = grey16(values, low=low, high=high)
            except ValueError as err:
                raise ValueError(f"map {key!r} of image {stem!r}: {err}") from err
            text = {"notice": NOTICE, "scale": f"value = {low} + ({high} - {low}) * pixel / 65535"}
            save_png(self.folder / f"{stem}{suffixes[key]}", pixels, text=text)
            clipped = {"clipped_below": int((values < low).sum()), "clipped_above": int((values > high).sum())}
            files[key] = {"file": f"{stem}{suffixes[key]}", "low": low, "high": high, **clipped}
        first = self.maps[0]
        picture = self._overlay(item, first)
        save_png(self.folder / f"{stem}_overlay.png", picture, text={"notice": NOTICE})
        low, high = self.scales[first]
        height, width = as_map(item[first]).shape
        score = score_of(item)
        return {
            "name": name,
            "source": source,
            "height": height,
            "width": width,
            "score": score if score is not None and np.isfinite(score) else None,
            "label": label_of(item),
            "maps": files,
            "overlay": {"file": f"{stem}_overlay.png", "map": first, "low": low, "high": high, "opacity": self.opacity},
        }

    def _overlay(self, item: Mapping[str, Any], key: str) -> Array:
        values = as_map(item[key])
        shrink = min(1.0, self.overlay_size / max(values.shape))
        size = (max(1, round(values.shape[0] * shrink)), max(1, round(values.shape[1] * shrink)))
        layer = map_layer(resize_map(values, size), low=self.scales[key][0], high=self.scales[key][1])
        return blend(resize_photo(as_photo(item["image"]), size), layer, self.opacity)

    def _finish(self, engine: Engine) -> None:
        index = {
            "notice": NOTICE,
            "encoding": "16-bit grey; value = low + (high - low) * pixel / 65535; higher = more anomalous",
            "maps": list(self.maps),
            "images": self._entries,
        }
        write_atomic(self.folder / "maps.json", (json.dumps(index, indent=2, allow_nan=False) + "\n").encode())
        self._entries = []
