"""Models over the framework by hand that were once misjudged, each with its truth."""
