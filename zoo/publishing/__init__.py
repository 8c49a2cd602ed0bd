"""Turn a card and its report into a release, and publish the release to a folder or to the Hub."""
