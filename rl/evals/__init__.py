"""Checks of the gym itself: hostile replies, and an audit of every category."""
