"""What a trained model does beyond the metrics of single records, as pure functions."""
