"""All that knows Label Studio: what it sends, how to ask it, and how to set it up."""
