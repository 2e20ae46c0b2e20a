"""Science: arrays in, arrays out; no DICOM files, no network, no web."""
