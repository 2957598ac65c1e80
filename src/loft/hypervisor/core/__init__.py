"""The pure half of the sync engine: names, mapping rules, translation, plans. No I/O, no clock, no randomness."""
