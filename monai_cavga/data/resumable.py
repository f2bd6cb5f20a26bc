"""Training order and augmentation as pure functions of (seed, epoch, index), so that a killed run resumes exactly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset, Sampler

# Repeated draws of one image within an epoch count up from here, far beyond any epoch, so that each gets its own
# augmentation while the first draw keeps the plain code ``epoch * num_items + index``.
_REPEAT = 2**20


class ResumableSampler(Sampler[int]):
    """Yield encoded indices ``epoch * num_items + index`` in an order that (seed, epoch) alone decide.

    The position never moves by itself: call :meth:`set_position` before each epoch's iterator is made (the trainer
    does). Feed the codes to :class:`SeededDataset`.

    Without ``anomalous_fraction`` every image comes once an epoch, as in the paper. With it (``labels`` needed), every
    normal image comes once and the anomalous ones are drawn again and again, each as often as the others give or take
    one, until they make up that fraction; both kinds are spread evenly over each rank's epoch.

    With several ranks each gets every ``num_replicas``-th image and the tail that would make them unequal is dropped.

    Args:
        num_items: length of the data set.
        seed: of the order.
        labels: 0 (normal) or 1 (anomalous) for each item.
        anomalous_fraction: share of anomalous images in an epoch, in (0, 1); None = every image once.
        num_replicas: number of processes.
        rank: this process, from 0.

    Raises:
        ValueError: if an option is out of range, labels do not fit, or a rank would be left without an image.
    """

    def __init__(
        self,
        num_items: int,
        *,
        seed: int = 0,
        labels: Sequence[int] | None = None,
        anomalous_fraction: float | None = None,
        num_replicas: int = 1,
        rank: int = 0,
    ) -> None:
        if num_replicas < 1 or not 0 <= rank < num_replicas:
            raise ValueError(
                f"rank is {rank} of {num_replicas}, expected 0 <= rank < num_replicas: see torchrun's RANK"
            )
        if num_items < num_replicas:
            raise ValueError(
                f"num_items is {num_items}, expected at least {num_replicas}, one for each rank: add images"
            )
        self.num_items = num_items
        self.seed = seed
        self.anomalous_fraction = anomalous_fraction
        self.num_replicas = num_replicas
        self.rank = rank
        self.epoch = 0
        self.start = 0
        self._normal, self._anomalous = np.arange(num_items), np.arange(0)
        self._draws = 0  # anomalous draws an epoch, all ranks together
        if anomalous_fraction is not None:
            self._set_fraction(anomalous_fraction, labels)

    def _set_fraction(self, fraction: float, labels: Sequence[int] | None) -> None:
        if not 0 < fraction < 1:
            raise ValueError(f"anomalous_fraction is {fraction}, expected (0, 1) or None: None takes every image once")
        if labels is None or len(labels) != self.num_items:
            got = "None" if labels is None else f"{len(labels)} labels"
            raise ValueError(
                f"labels is {got}, expected one for each of {self.num_items} items: give the items' labels"
            )
        flags = np.asarray(labels, dtype=np.int64)
        self._normal, self._anomalous = np.flatnonzero(flags == 0), np.flatnonzero(flags == 1)
        if len(self._normal) + len(self._anomalous) != self.num_items:
            raise ValueError(f"labels hold {sorted(set(flags.tolist()))}, expected 0 and 1 only: correct the data list")
        self._draws = round(len(self._normal) * fraction / (1 - fraction))
        least = min(len(self._normal), self._draws)
        if least < self.num_replicas or len(self._anomalous) == 0:
            raise ValueError(
                f"anomalous_fraction {fraction} of {len(self._normal)} normal and {len(self._anomalous)} anomalous "
                f"images leaves none of a kind for one of {self.num_replicas} ranks: set it to None or add images"
            )

    def set_position(self, epoch: int, start: int = 0) -> None:
        """Place the next iterator in ``epoch``, after the first ``start`` images of this rank.

        Raises:
            ValueError: if ``epoch`` is outside [0, 2**20), or ``start`` outside the epoch.
        """
        if not 0 <= epoch < _REPEAT:
            raise ValueError(f"epoch is {epoch}, expected 0 to {_REPEAT - 1}: count epochs from 0")
        if not 0 <= start <= len(self):
            raise ValueError(
                f"start is {start}, expected 0 to {len(self)}, this rank's images: was the data set changed?"
            )
        self.epoch = epoch
        self.start = start

    def set_epoch(self, epoch: int) -> None:
        """Place the next iterator at the beginning of ``epoch`` (the name that torch's own sampler uses)."""
        self.set_position(epoch)

    def __len__(self) -> int:
        """Images of this rank in a whole epoch, wherever the position is."""
        return len(self._normal) // self.num_replicas + self._draws // self.num_replicas

    def __iter__(self) -> Iterator[int]:
        # A list, not a generator: DataLoader asks for the first item later, when the position may have moved on.
        return iter(self._order()[self.start :])

    def _order(self) -> list[int]:
        """The codes of this rank's whole epoch."""
        random = np.random.RandomState(seed_words(self.seed, self.epoch))  # its stream is frozen across numpy versions
        normal = self._normal[random.permutation(len(self._normal))]
        codes = self._share(self.epoch * self.num_items + normal)
        if not self._draws:
            return cast("list[int]", codes.tolist())
        rounds = -(-self._draws // len(self._anomalous))
        drawn = [
            (self.epoch + repeat * _REPEAT) * self.num_items + random.permutation(self._anomalous)
            for repeat in range(rounds)
        ]
        anomalous = self._share(np.concatenate(drawn)[: self._draws])
        # Each kind at equal distances: a stable sort of the places (k + 1/2) / n.
        places = np.concatenate([(np.arange(len(kind)) + 0.5) / len(kind) for kind in (codes, anomalous)])
        return cast("list[int]", np.concatenate([codes, anomalous])[np.argsort(places, kind="stable")].tolist())

    def _share(self, codes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return codes[self.rank :: self.num_replicas][: len(codes) // self.num_replicas]


class _RandomTransform(Protocol):
    def set_random_state(self, seed: int | None = None) -> Any: ...


class _TransformingDataset(Protocol):
    transform: _RandomTransform
    data: Any

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Any: ...


class SeededDataset(Dataset[Any]):
    """Make each sample of a MONAI data set a pure function of (seed, epoch, index).

    Before an item is transformed, the random state of the whole pipeline is set from a hash of the three, so samples
    do not depend on the number of workers, the rank, or what was read before. Transforms that draw from a global
    random state (numpy's, torch's or Python's) are not covered; MONAI's own do not.

    Args:
        dataset: ``monai.data.Dataset``, ``CacheDataset`` or another with ``transform`` (a ``Compose`` or one
            transform with ``set_random_state``).
        seed: of the augmentation.

    Raises:
        ValueError: if the data set's transform cannot be seeded.
    """

    def __init__(self, dataset: Any, *, seed: int = 0) -> None:
        if not hasattr(getattr(dataset, "transform", None), "set_random_state"):
            raise ValueError(
                f"dataset {type(dataset).__name__} has no transform with set_random_state, expected "
                "monai.data.Dataset or CacheDataset with a Compose: wrap the transforms in monai.transforms.Compose"
            )
        self.dataset: _TransformingDataset = dataset
        self.seed = seed

    @property
    def data(self) -> Any:
        """The wrapped data set's items."""
        return self.dataset.data

    def __len__(self) -> int:
        return len(cast(Sized, self.dataset))

    def __getitem__(self, encoded: int) -> Any:
        """Return the sample of a code made by :class:`ResumableSampler`; a plain index means epoch 0.

        Raises:
            IndexError: if the code is negative.
        """
        if encoded < 0:
            raise IndexError(
                f"code is {encoded}, expected epoch * {len(self)} + index: negative indices mean nothing here"
            )
        draw, index = divmod(int(encoded), len(self))
        self.dataset.transform.set_random_state(seed=int(seed_words(self.seed, draw, index)[0]))
        return self.dataset[index]


def seed_words(*key: int) -> npt.NDArray[np.uint32]:
    """Four 32-bit words from whole numbers; numpy promises that they stay the same in all its versions."""
    return np.random.SeedSequence([value % 2**64 for value in key]).generate_state(4).astype(np.uint32)
