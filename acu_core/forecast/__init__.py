"""What a training will take, before it is begun: time, memory, disk."""
