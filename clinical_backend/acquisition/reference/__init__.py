"""What the compiled engine is checked against."""
