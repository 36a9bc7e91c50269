"""The round: sync → embed → fit → rank → publish, and when one is due."""
