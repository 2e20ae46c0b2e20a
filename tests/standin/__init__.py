"""Parts of a strict stand-in for an XNAT server; ``standin.server`` joins them."""
