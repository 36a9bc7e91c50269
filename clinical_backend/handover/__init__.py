"""What leaves the house when a project is handed over: its labels as a data set, its model as one file."""
