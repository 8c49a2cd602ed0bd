"""Count what a forward pass costs under every convention."""
