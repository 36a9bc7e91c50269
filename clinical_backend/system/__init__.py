"""What the machine gives: files, permissions, processes, the network."""
