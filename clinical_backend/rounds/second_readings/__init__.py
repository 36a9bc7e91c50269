"""Which answered tasks are read a second time, and how Label Studio is told."""
