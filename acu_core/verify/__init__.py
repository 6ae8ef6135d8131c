"""The compiled operator against the reference, on the machine of whoever asks."""
