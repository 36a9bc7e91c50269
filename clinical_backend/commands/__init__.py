"""The commands of ``clinical``, by what they are about. What one needs is imported when it runs."""
