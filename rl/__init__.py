"""Multimodal reinforcement learning: environments, rewards, rollouts."""
