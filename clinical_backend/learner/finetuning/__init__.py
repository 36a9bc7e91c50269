"""A backbone that learns from the labels at hand."""
