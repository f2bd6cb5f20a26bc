"""The deployable half of CAVGA: an image in, its anomaly maps out, in one exportable module."""

from collections.abc import Sequence

from torch import Tensor, nn

from monai_cavga.networks.cavga import CAVGA, MAP_NAMES

__all__ = ["CAVGALocalizer"]


class CAVGALocalizer(nn.Module):
    """Image to anomaly maps, without autograd: scriptable, traceable, exportable to ONNX.

    A thin shell over `CAVGA.anomaly_maps`; call ``.eval()`` first, as for any network with BatchNorm.

    Args:
        network: a CAVGA network; shared, not copied.
        maps: names of the maps, in the order of the output's channels.

    Raises:
        ValueError: if ``maps`` is empty or has an unknown name.
    """

    def __init__(self, network: CAVGA, *, maps: Sequence[str] = ("attention", "residual")) -> None:
        super().__init__()
        unknown = [name for name in maps if name not in MAP_NAMES]
        if unknown or not maps:
            raise ValueError(f"maps is {list(maps)}, expected some of {list(MAP_NAMES)}")
        self.network = network
        self.maps: list[str] = list(maps)

    def forward(self, image: Tensor) -> Tensor:
        """``(B, C, H, W)`` in [0, 1] to ``(B, len(maps), H, W)``, float; higher = more anomalous."""
        return self.anomaly_maps(image, self.maps)

    def anomaly_maps(self, image: Tensor, names: list[str]) -> Tensor:
        """As `CAVGA.anomaly_maps`, so that inferers take either."""
        return self.network.anomaly_maps(image, names)
