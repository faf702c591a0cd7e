"""What is learned: each task brings a model, an objective and an evaluation."""
