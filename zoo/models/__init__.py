"""Build the model of a card, load its weights, and cache the facts measured about it."""
