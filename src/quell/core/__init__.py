"""The pure part: values in, values out. No await, clock, disk, randomness or log, and nothing of ours above it."""
