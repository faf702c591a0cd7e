"""What generated sources draw: planes, skies and other backgrounds."""
