"""What a process works with: client, stores, features, models and locks of its projects."""
