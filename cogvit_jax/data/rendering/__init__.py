"""Pictures drawn from a seed, with captions in English and Chinese."""
