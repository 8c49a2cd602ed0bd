"""Convert foreign documents into cards and cards into foreign documents."""
