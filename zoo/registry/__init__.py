"""Read cards from YAML: documents, schemas, cards, the catalog of a zoo, queries and edits."""
