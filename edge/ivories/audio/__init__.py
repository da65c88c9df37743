"""From sound to spectra."""
