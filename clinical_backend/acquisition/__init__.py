"""Acquisition: arrays in, indices and gains out. Nothing here knows Label Studio, HTTP or a database."""
