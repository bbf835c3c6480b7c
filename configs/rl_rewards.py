"""The reward section of reinforcement learning: `config.rewards = rewards()`.

    from configs.rl_rewards import rewards
    config.rewards = rewards()

Every category of the gym has an exact rule, so the default asks no judge. To have one:

    config.rewards.endpoints.local = {"url": "http://127.0.0.1:8000/v1", "model": "judge"}
    config.rewards.judges.meaning = {"seats": ("local", "local", "local")}
    config.rewards.recipes.open = {"aggregation": "first", "verifiers": ("rule", "judge:meaning")}
    config.rewards.sources = (("docs_*", "open"), *config.rewards.sources)

Fields are described by `rl.rewards.reward_settings.RewardSettings`, and by the settings that it
names.
"""

from ml_collections import ConfigDict


def rewards() -> ConfigDict:
    """Form times correctness for everything, by rules alone; numbers without a source are ours."""
    config = ConfigDict()
    config.recipes = {
        # As in GLM-V's reward package: a malformed reply has the least reward, whatever it says.
        "outcome": {
            "aggregation": "format_times_correctness",
            "verifiers": ("format", "rule"),
        },
        # For small models, which do not think yet: right is right, in a box or not.
        "answer": {"aggregation": "first", "verifiers": ("rule",)},
        # A graded reward, where right answers in a bad form are still worth most of it.
        "careful": {
            "aggregation": "weighted_sum",
            "verifiers": ("format", "language", "length", "rule"),
            "weights": (0.05, 0.05, 0.05, 0.85),
        },
    }
    config.sources = (("*", "outcome"),)  # ordered: a tag's own line, else the first glob that fits
    config.default = ""
    config.endpoints = {}
    config.judges = {}
    config.local = {
        "thoughts": True,
        "chinese": 0.6,
        "english": 0.1,
        "letters": 8,
        "soft_length": 16384,  # DAPO (arXiv:2503.14476, §3.4): 20480 with a margin of 4096
        "hard_length": 20480,
    }
    config.threads = 8
    config.rule_seconds = 30.0
    config.cache_size = 100_000
    config.cache_path = ""
    config.secret_variable = ""
    return config
