"""A small network that learns the pool's own images, without labels."""
