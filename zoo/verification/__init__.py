"""Turn cards into findings and reports: checks, rules, output formats."""
