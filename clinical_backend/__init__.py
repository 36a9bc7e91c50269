"""A Label Studio ML backend that brings the rare cases to the front of the annotation queue."""
