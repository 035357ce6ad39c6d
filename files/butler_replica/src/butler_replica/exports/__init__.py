"""Export files: finding, reading and migrating them."""
