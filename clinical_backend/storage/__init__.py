"""What the backend keeps: its state in a database, features in memory-mapped files."""
