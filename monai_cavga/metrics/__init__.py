"""Metrics of anomaly maps and image scores; higher score = more anomalous in all of them."""

from __future__ import annotations

from monai_cavga.metrics.errors import UndefinedMetricError
from monai_cavga.metrics.froc import FROC, FROC_RATES, FrocCurve, FrocHistogram
from monai_cavga.metrics.histogram import ItemCounts, OracleIoU, PixelHistogram
from monai_cavga.metrics.image import (
    ImageAUROC,
    PaperAccuracy,
    balanced_accuracy,
    false_positive_area,
    image_auroc,
    image_score,
    paper_accuracy,
    sensitivity_at_specificity,
)
from monai_cavga.metrics.interval import Interval, bootstrap_interval
from monai_cavga.metrics.pixel import PixelAUROC, PixelAveragePrecision, PixelIoU
from monai_cavga.metrics.region import AUPRO, RegionHistogram

__all__ = [
    "AUPRO",
    "FROC",
    "FROC_RATES",
    "FrocCurve",
    "FrocHistogram",
    "ImageAUROC",
    "Interval",
    "ItemCounts",
    "OracleIoU",
    "PaperAccuracy",
    "PixelAUROC",
    "PixelAveragePrecision",
    "PixelHistogram",
    "PixelIoU",
    "RegionHistogram",
    "UndefinedMetricError",
    "balanced_accuracy",
    "bootstrap_interval",
    "false_positive_area",
    "image_auroc",
    "image_score",
    "paper_accuracy",
    "sensitivity_at_specificity",
]
