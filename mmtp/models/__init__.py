"""Decoder, projector, multi-token prediction, and the model made of them."""
