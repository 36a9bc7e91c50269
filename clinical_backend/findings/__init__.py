"""What the audit draws say of the rare cases: how many there are, how many are left, how long they will take. Pure."""
