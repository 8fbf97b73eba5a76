"""One readable file per study; `defaults.py` holds every field."""
