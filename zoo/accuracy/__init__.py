"""Evaluate models on data sets: counts, intervals, verdicts, diagnosis."""
