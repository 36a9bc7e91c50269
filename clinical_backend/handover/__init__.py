"""What leaves the house when a project is handed over: its labels as a data set that others can rely on."""
