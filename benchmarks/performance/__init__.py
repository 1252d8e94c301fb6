"""`make bench`: the page of measurements, and how work is measured."""
