"""Training, export and evaluation of the two networks (workstation only)."""
