"""A GLM-style vision-language decoder on CogViT, with multimodal multi-token prediction."""
