"""Weights from a URL with its hash, from a local file, or none; always with a report of what was not filled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

__all__ = [
    "IMAGENET_RESNET18",
    "WeightReport",
    "WeightsError",
    "half_precision",
    "half_precision_bytes",
    "load_encoder_weights",
    "load_model",
    "read_weights",
    "settings_of_model",
    "trained_or_shipped",
    "warm_start",
]

# torchvision's IMAGENET1K_V1 (BSD-3); the end of the name is the start of the file's sha256, checked by torch.hub.
IMAGENET_RESNET18 = "https://download.pytorch.org/models/resnet18-f37072fd.pth"

_DRAWN = ("own_normals", "labelled", "validation_fraction", "seed")  # settings: which images a training saw


class WeightsError(ValueError):
    """A file of weights that is missing, unreadable, altered, or of another architecture."""


class WeightReport(NamedTuple):
    """What loading did: names of parameters and buffers."""

    filled: list[str]
    not_filled: list[str]
    not_used: list[str]

    def __str__(self) -> str:
        lines = [f"weights: {len(self.filled)} entries filled, {len(self.not_filled)} not filled"]
        lines += [f"  not filled (stays as initialised): {name}" for name in self.not_filled]
        lines += [f"  not used: {name}" for name in self.not_used]
        return "\n".join(lines)


def read_weights(source: str | Path, *, sha256: str | None = None) -> dict[str, Tensor]:
    """Read a flat mapping of names to tensors, without pickle.

    Args:
        source: ``.safetensors``, any file that ``torch.load(weights_only=True)`` reads, or an ``https://`` URL whose
            file name carries the start of its sha256 as torch.hub's do.
        sha256: the expected digest of a local file, checked before it is opened.

    Raises:
        WeightsError: if the file is missing, cannot be fetched, has another digest, or holds more than tensors.
    """
    return _read(source, sha256=sha256)[0]


def _read(source: str | Path, *, sha256: str | None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a file, and the settings that the bundles store beside them."""
    name = str(source)
    if name.startswith("https://"):
        try:
            state = torch.hub.load_state_dict_from_url(name, map_location="cpu", check_hash=True, weights_only=True)
        except Exception as error:  # no network, another hash, a broken transfer, or a file that torch refuses
            raise WeightsError(
                f"{name} cannot be fetched ({_why(error)}): give a local file, or 'none' for no weights"
            ) from error
        return _tensors_only(state, name), {}
    path = Path(source)
    if not path.is_file():
        raise WeightsError(
            f"weights file {path} does not exist: give a .safetensors, .pt or .pth file "
            "(an encoder also takes 'imagenet' or 'none')"
        )
    if sha256 is not None:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest != sha256:
            raise WeightsError(f"weights file {path} has sha256 {digest}, expected {sha256}: fetch it again")
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                settings = json.loads((file.metadata() or {}).get("settings", "{}"))
            return load_file(path), settings
        content = torch.load(path, map_location="cpu", weights_only=True)
        return _tensors_only(content, name), dict(content.get("settings", {})) if "model" in content else {}
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f"weights file {path} cannot be read ({_why(error)}): expected tensors by name") from error
    except Exception as error:  # pickle.UnpicklingError: torch refuses everything that is not plain tensors
        raise WeightsError(
            f"weights file {path} is refused ({type(error).__name__}): it is damaged, or holds more than tensors"
        ) from None


def load_encoder_weights(encoder: nn.Module, source: str | Path | None, *, sha256: str | None = None) -> WeightReport:
    """Fill an encoder by parameter names; a partial file is legal and reported, and the report is printed.

    Half-precision values are widened. A first convolution for three channels fills one of a single channel with the
    sum over its input channels (the response to a grey image).

    Args:
        encoder: for example ``CAVGA().encoder``; changed in place.
        source: as for `read_weights`, or ``"imagenet"`` for torchvision's ResNet-18, or ``"none"`` or None for
            no weights (MONAI's command line cannot pass None).
        sha256: as for `read_weights`.

    Raises:
        WeightsError: as `read_weights`, if no entry fits, or if an entry has another shape.
    """
    if source is None or source == "none":
        return WeightReport([], [name for name, _ in encoder.named_parameters()], [])
    own = encoder.state_dict()
    if source == "imagenet" and "layer1.0.conv1.weight" not in own:
        raise WeightsError("weights are 'imagenet', a ResNet-18, and the encoder is another: pass 'none' or a file")
    state = read_weights(IMAGENET_RESNET18 if source == "imagenet" else source, sha256=sha256)
    first = state.get("conv1.weight")
    if first is not None and "conv1.weight" in own and first.shape[1] == 3 and own["conv1.weight"].shape[1] == 1:
        state["conv1.weight"] = first.sum(dim=1, keepdim=True)
    filled = {name: value for name, value in state.items() if name in own}
    _check_shapes(filled, own, str(source))
    if not filled:
        raise WeightsError(
            f"no entry of {source} fits this encoder: expected names such as {next(iter(own))!r}, "
            "or 'none' for no weights"
        )
    encoder.load_state_dict({name: value.to(own[name].dtype) for name, value in filled.items()}, strict=False)
    # Counters of BatchNorm do not change a result, so a file without them is not called partial.
    not_filled = [name for name in own if name not in filled and not name.endswith("num_batches_tracked")]
    report = WeightReport(sorted(filled), not_filled, sorted(name for name in state if name not in own))
    print(report)
    return report


def load_model(
    model: nn.Module,
    source: str | Path,
    *,
    settings: Mapping[str, Any] | None = None,
    sha256: str | None = None,
) -> None:
    """Fill a whole model from a checkpoint that was saved from the same architecture.

    Args:
        model: changed in place.
        source: a file of named tensors, or of ``{"model": named tensors, "settings": ...}`` as the bundles save it.
        settings: options that must equal those the model was trained with, where the file has them: with another
            ``labelled`` or ``seed`` an evaluation would meet images that were trained on. Not compared is how images
            were drawn where the model comes from other data; see `settings_of_model`.
        sha256: as for `read_weights`.

    Raises:
        WeightsError: as `read_weights`; naming the setting that differs, or the entries that are missing, left over
            or of another shape.
    """
    state, trained_with = _read(source, sha256=sha256)
    for name, value in _as_drawn(settings, trained_with).items():
        if name in trained_with and trained_with[name] != value:
            raise WeightsError(
                f"{source} was trained with {name} {trained_with[name]}, got {value}: "
                f"pass --{name} {trained_with[name]}"
            )
    own = model.state_dict()
    missing = [name for name in own if name not in state]
    extra = [name for name in state if name not in own]
    if missing or extra:
        raise WeightsError(
            f"{source} is of another architecture: {_few(missing)} missing, {_few(extra)} left over; "
            "build the network with the options it was trained with (architecture, stages, latent, head)"
        )
    _check_shapes(state, own, str(source))
    model.load_state_dict({name: value.to(own[name].dtype) for name, value in state.items()})


def settings_of_model(source: str | Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """A run's settings as the model's file is to keep them when the run is a calibration.

    A plain folder of one's own normals shares no image with a data set. Where one of the two trained the model
    (``own_normals`` in its file) and the other is read now, how the training drew its images stays as it was in the
    file, and a run may draw as it likes.

    Raises:
        WeightsError: as `read_weights`.
    """
    return _as_drawn(settings, _read(source, sha256=None)[1])


def _as_drawn(settings: Mapping[str, Any] | None, trained_with: Mapping[str, Any]) -> dict[str, Any]:
    own = plain_settings(settings)
    if bool(own.get("own_normals")) == bool(trained_with.get("own_normals")):
        return own
    others = {name: value for name, value in own.items() if name not in _DRAWN}
    return others | {name: trained_with[name] for name in _DRAWN if name in trained_with}


def trained_or_shipped(trained: str, shipped: str) -> str:
    """The path of a model that was trained here, or, where there is none, of the one that ships, which is said.

    Where neither is there it is the first: what reads it says what is missing.
    """
    if Path(trained).is_file() or not Path(shipped).is_file():
        return trained
    print(f"{trained} is not there: taking {shipped}")
    return shipped


def warm_start(model: nn.Module, source: str | Path, *, settings: Mapping[str, Any] | None = None) -> None:
    """`load_model`, or nothing for ``"none"``: where a training begins from another one's result.

    Raises:
        WeightsError: as `load_model`.
    """
    if source != "none":
        load_model(model, source, settings=settings)


def half_precision(model: nn.Module) -> None:
    """Round a model's weights to half precision, in place; vectors (BatchNorm, biases) and buffers keep theirs.

    Calibrate and evaluate after it, so that numbers belong to the file that ships.
    """
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.copy_(parameter.half().float())


def half_precision_bytes(model: nn.Module, *, settings: Mapping[str, Any] | None = None) -> bytes:
    """A model as safetensors, its matrices and convolutions in half precision; `load_model` reads it.

    Args:
        model: see `half_precision`.
        settings: options of the training, plain values, kept in the file and compared by `load_model`.
    """
    parameters = {name for name, value in model.named_parameters() if value.ndim > 1}
    state = {
        name: (value.half() if name in parameters else value).contiguous().cpu()
        for name, value in model.state_dict().items()
    }
    content: bytes = save(state, metadata={"settings": json.dumps(plain_settings(settings))})
    return content


def plain_settings(settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """Settings with tuples as lists, so that ``64,96`` and ``[64, 96]`` of a command line are one setting."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in (settings or {}).items()}


def _check_shapes(state: Mapping[str, Tensor], own: Mapping[str, Tensor], source: str) -> None:
    for name, value in state.items():
        if value.shape != own[name].shape:
            raise WeightsError(
                f"{source}: {name} has shape {tuple(value.shape)}, expected {tuple(own[name].shape)}: "
                "the file is of another architecture, image size or number of channels"
            )


def _tensors_only(state: object, source: str) -> dict[str, Tensor]:
    if isinstance(state, Mapping) and isinstance(state.get("model"), Mapping):
        state = state["model"]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{source} holds no mapping of names to tensors: save a state_dict()")
    return dict(state)


def _why(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)  # one line; torch explains itself in many


def _few(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{len(names)} entries ({shown}{', ...' if len(names) > 3 else ''})" if names else "nothing"
