"""Get weights onto this machine, verify them and read their tensors."""
