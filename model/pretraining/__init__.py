"""Training without a patient: synthetic anatomies, random scanners, one recipe."""
