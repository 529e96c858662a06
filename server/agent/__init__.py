"""The agent process: VAD over all calls in one batch, a turn machine and a dialogue for each."""
