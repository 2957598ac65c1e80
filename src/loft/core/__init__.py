"""Pure, domain-free building blocks: queue semantics, back-off, diff, selectors, quantities, actions."""
