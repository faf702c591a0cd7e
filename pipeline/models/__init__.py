"""Networks, written once for 2D images and 3D volumes."""
