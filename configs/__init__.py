"""Configs: numbers only. README.md is the run table."""
