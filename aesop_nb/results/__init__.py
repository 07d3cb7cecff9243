"""What a task gives back: its type, the schema the model sees, and the check of what it hands in."""
