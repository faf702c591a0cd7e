"""Small datasets and program runners that the tests share."""
