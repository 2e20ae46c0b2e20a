"""The parts of a synthetic examination that ``plugin.phantom_dicom`` writes."""
