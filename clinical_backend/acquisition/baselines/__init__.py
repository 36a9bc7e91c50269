"""What the functions are compared with: the acquisitions of the active learning literature."""
