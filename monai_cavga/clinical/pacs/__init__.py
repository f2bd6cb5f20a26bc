"""Localise studies of a PACS: query, retrieve, localise, store back, verify; see docs/clinical.md."""

from __future__ import annotations
