"""What connects a project with a backend, and what may be wrong with it."""
