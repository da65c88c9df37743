"""From frames to rectified strips."""
