"""The training process: everything below `train_worker.main`. The only room that imports torch."""
