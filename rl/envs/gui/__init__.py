"""Screens as JSON: their look, what actions do to them, goals; and real pages."""
