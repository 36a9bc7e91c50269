"""The learner: backbones that turn images into features, and the classifier on top of them."""
