"""The measurements, one module each, found by being here; each has `rows()` or `rows(data)`."""
