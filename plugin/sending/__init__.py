"""Sending DICOM: where it goes, whether it arrived, and why not."""
