"""One of everything that a package can add to Orbit: start your own by copying this folder."""
