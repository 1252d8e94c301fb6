"""The site: a page for each ranking and each run of results folders, as files for any web server or none."""
