"""Turn a card and its report into a release, and put the release onto the Hub."""
