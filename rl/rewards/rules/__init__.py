"""Exact verifiers: pure functions (answer, reference) -> 0 … 1 that no answer can break."""
