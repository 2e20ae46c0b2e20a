"""DICOM files into frames, phases, acquisitions: what ``plugin.dce`` chooses from."""
