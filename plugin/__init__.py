"""Doors: DICOM, archives, HTTP, argv and environment."""
