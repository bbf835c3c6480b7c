"""Evaluators, in training and alone."""
