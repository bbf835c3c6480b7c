"""The parts of generation: sampling, verification, prompts, drafting, steps and the engine."""
