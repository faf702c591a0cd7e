"""An example of everything that a package can add to Orbit. Start your own by copying this
folder."""
