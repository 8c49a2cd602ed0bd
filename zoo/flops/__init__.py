"""Count the operations of a forward pass under every convention."""
