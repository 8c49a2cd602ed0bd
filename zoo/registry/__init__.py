"""Read and write cards in YAML: documents, schemas, cards, the catalogue of a zoo, queries and edits."""
