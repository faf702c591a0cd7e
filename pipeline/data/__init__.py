"""From record numbers to batches on the device: order, draws, and the DALI loader."""
