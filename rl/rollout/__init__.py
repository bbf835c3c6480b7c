"""Rollouts: who is asked what, by which engine, and in which order."""
