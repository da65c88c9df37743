"""Seeing: rendered keyboards, the video network, its training and evaluation."""
