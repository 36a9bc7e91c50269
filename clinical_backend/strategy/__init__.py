"""Which order? Arrays and labels in, a ranked pool out; nothing here knows Label Studio, HTTP or a database."""
