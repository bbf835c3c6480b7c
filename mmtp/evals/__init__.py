"""What a trained vision-language model can do."""
