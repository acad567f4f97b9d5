"""What comes after training, each in a process of its own: merging, uploading, converting, talking."""
