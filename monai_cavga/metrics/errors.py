"""The error of a metric that has no value for the data it was given."""

from __future__ import annotations

__all__ = ["UndefinedMetricError"]


class UndefinedMetricError(ValueError):
    """A metric has no value: only one class, no region, nothing accumulated.

    Metrics raise it instead of returning ``nan``, because MONAI's ``Workflow`` compares key metrics with ``>`` and a
    first value of ``nan`` is never replaced: training would keep the first weights and say nothing.
    A report that lists many metrics catches it and writes ``null`` with this text as the reason.
    """
