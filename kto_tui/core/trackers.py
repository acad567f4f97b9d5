"""The trackers that --report-to may name."""

# Each is the name of its package and of its extra, too.
TRACKERS = ("wandb", "tensorboard", "mlflow", "trackio")
EXPECTED = "expected wandb, tensorboard, mlflow or trackio, or several with commas"
