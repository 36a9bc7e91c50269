"""What other settings of a project would have found."""
