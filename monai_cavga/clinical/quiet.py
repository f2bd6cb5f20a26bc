"""Silence the libraries: their warnings and logs quote values, a patient's name say, and addresses with UIDs."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["quiet"]

_TALKERS = ("pynetdicom", "dicomweb_client", "urllib3", "requests", "retrying", "pydicom", "highdicom")


@contextmanager
def quiet() -> Iterator[None]:
    """No warning and no log of theirs inside, also of their threads."""
    loggers = [logging.getLogger(name) for name in _TALKERS]
    before = [(logger.propagate, logger.handlers) for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            # not the level: loggers below these have their own
            logger.propagate, logger.handlers = False, [logging.NullHandler()]
        try:
            yield
        finally:
            for logger, (propagate, handlers) in zip(loggers, before, strict=True):
                logger.propagate, logger.handlers = propagate, handlers
