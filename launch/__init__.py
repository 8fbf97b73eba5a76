"""Command lines; nothing here is imported by a library user."""
