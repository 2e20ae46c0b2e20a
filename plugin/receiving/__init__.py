"""Receiving DICOM: who may send, what is kept, and how it comes safely to disk."""
