"""The engine: similarities and greedy loops, compiled."""
