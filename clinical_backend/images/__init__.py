"""Images: from the address in a task's data to bytes, and from bytes to pixels."""
