"""Stage 1's ablations: a question per file, its answers as variants (benchmarks/ablations.py)."""
