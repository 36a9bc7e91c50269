"""The demonstration: a real Label Studio, a project, and a simulated reader."""
