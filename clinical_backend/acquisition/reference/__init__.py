"""Other engines: what the compiled one is checked against."""
