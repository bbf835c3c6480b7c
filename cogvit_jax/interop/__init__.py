"""Weights of others in, ours out: safetensors files with Hugging Face's names."""
