"""The pair store: datasets of records (source, action, target, label) in HDF5 shards.

DIR/
  manifest.json           written last; its presence means the dataset is complete
  train/shard_00000.h5    raw contiguous arrays, see `shard.py`
  val/...  test/...
"""
