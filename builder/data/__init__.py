"""What ships with a release as data, and the readers of it."""
