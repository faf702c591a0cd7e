"""The data path, the models and the training of Orbit."""
