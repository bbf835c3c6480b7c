"""Policy losses as pure functions of log-probabilities; `loss.policy_loss` puts them together."""
