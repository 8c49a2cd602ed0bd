"""Build the model of a card, load its weights, and keep what was measured about it."""
