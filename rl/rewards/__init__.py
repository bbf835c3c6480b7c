"""Rewards: exact rules, judges, and how several verdicts become one number."""
