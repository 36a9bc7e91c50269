"""What is kept of projects, images, labels and rounds, one store for each."""
