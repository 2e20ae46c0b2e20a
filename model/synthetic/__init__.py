"""What a phantom is made of: patient, site, anatomy, signal; see ``model.phantom``."""
