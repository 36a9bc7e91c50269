"""What the outside may ask: Label Studio, pages, commands."""
