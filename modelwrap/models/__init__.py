"""What can stand behind a name: a model type a file."""
