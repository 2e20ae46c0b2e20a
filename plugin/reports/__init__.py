"""The parts of the HTML reports that ``plugin.report`` writes."""
