"""Speed, side by side with the libraries that researchers use today; see ``README.md``."""
