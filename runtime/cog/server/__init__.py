"""The HTTP server of an image, in a process apart from the model's; nothing of the model is imported here."""
