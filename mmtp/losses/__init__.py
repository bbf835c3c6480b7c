"""Losses over tokens; jax only."""
