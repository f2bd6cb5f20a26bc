"""The clinical pipeline: photographs in, maps, DICOM objects and a page out. Research use, not for diagnosis."""
