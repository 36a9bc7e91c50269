"""Active learning simulated on labelled sets: what finds how many rare cases for how many labels."""
