"""What generated sources draw: heads, planes, skies, deformed shapes."""
