"""Programs of the engine that train a vision-language model."""
