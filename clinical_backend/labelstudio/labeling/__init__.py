"""What a labeling config asks, and what readers answered."""
