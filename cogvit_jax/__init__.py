"""CogViT and everything that trains it; flat files are the toolkit, folders the encoder."""
