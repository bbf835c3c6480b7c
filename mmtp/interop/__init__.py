"""Weights of released GLM models, in and out."""
