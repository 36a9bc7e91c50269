"""Pretrained networks that turn images into features."""
